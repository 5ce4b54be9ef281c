"""A broker's logs under simulated life: producers that retry, readers, retention, faults, crashes, recovery.

One `World` is one seed. A *cycle* is a life of the process: open the folder, do things until it is stopped
cleanly or crashes, bring the disk into the state the next start finds. What must hold is checked all the time
against a model of what clients were told:

    acknowledged    a record whose producer was told its offset (acks=all) is at that offset for good,
                    unless the log start moved past it
    visible         what a consumer was given below the high watermark stays what it was
    no duplicates   an idempotent producer's record is in a log at most once, whatever it retries
    no gaps         offsets follow one another from the log start to the end
    written         a record that was appended (acks=1) outlives the process, if not the machine
    monotonic       high watermark and log start never fall back behind what was told
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.errors import ApiError, StorageFailed
from protocol.records import Record, build, crc_is_valid, iterate, parse_batches
from tests.simulation.memory_storage import Crashed, MemoryStorage
from wal.checkpoint import TopicPartition
from wal.data_folder import DataFolder
from wal.errors import DiskFull
from wal.flusher import Durable, Flusher
from wal.log import Log, LogConfig
from wal.retention import RetentionRound

ROOT = "/data"
TOPIC_ID = bytes(range(16))
PARTITIONS = [TopicPartition("orders", 0), TopicPartition("clicks-eu", 3)]
MAX_IN_FLIGHT = 5  # what an idempotent client keeps in flight
MAX_RECORD_BYTES = 1 << 20


class Broken(AssertionError):
    """A promise was broken."""


@dataclass
class Sent:
    """A batch that a producer has sent and not seen acknowledged."""

    base_sequence: int
    values: list[bytes]
    base_offset: int = -1  # as told by the log in this life; -1: not written yet
    written_at: int = -1  # in any life


@dataclass
class Producer:
    """An idempotent producer: what is not acknowledged is sent again, in order, until it is."""

    producer_id: int
    partition: TopicPartition
    next_sequence: int = 0
    in_flight: list[Sent] = field(default_factory=list)

    def new_batch(self, chance: random.Random) -> Sent:
        count = chance.choice((1, 1, 1, 2, 5, 20))
        values = [
            f"{self.producer_id}:{self.next_sequence + index}:".encode() + bytes(chance.randrange(60))
            for index in range(count)
        ]
        sent = Sent(self.next_sequence, values)
        self.next_sequence += count
        self.in_flight.append(sent)
        return sent


class Partition:
    """What clients were told about one partition."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, bytes] = {}
        self.visible: dict[int, bytes] = {}
        self.written: dict[int, bytes] = {}  # as told (acks=1) and not lost to the machine since
        self.high_watermark = 0
        self.log_start_offset = 0  # as promised to whoever asked for records to be deleted

    def forget_below(self, offset: int) -> None:
        for told in (self.acknowledged, self.visible, self.written):
            for old in [known for known in told if known < offset]:
                del told[old]


class World:
    """One seed's disk, clients and model."""

    def __init__(self, seed: int, flusher: type[Flusher] = Flusher) -> None:
        self.chance = random.Random(seed)
        self.flusher_class = flusher
        self.storage = MemoryStorage(ROOT, self.chance)
        self.now_ms = 1_700_000_000_000
        self.config = LogConfig(
            segment_bytes=self.chance.choice((1500, 4000, 20_000)),
            segment_ms=self.chance.choice((2_000, 1_000_000)),
            index_interval_bytes=self.chance.choice((1, 300, 4096)),
            retention_ms=self.chance.choice((-1, 20_000)),
            retention_bytes=self.chance.choice((-1, 6_000)),
            preallocate_bytes=self.chance.choice((0, 1000, 8192)),
            file_delete_delay_ms=self.chance.choice((0, 3_000)),
        )
        self.partitions = {key: Partition() for key in PARTITIONS}
        self.producers = [Producer(number, self.chance.choice(PARTITIONS)) for number in (1, 2, 3)]
        self.logs: dict[TopicPartition, Log] = {}
        self.folder: DataFolder
        self.flusher: Flusher
        self.plain = 0  # records of producers that are not idempotent, which are never sent twice
        self.plain_in_flight: list[tuple[TopicPartition, int, list[bytes]]] = []
        self.restarts = 0
        self.quiet = 0  # logs that retention left alone without opening them
        self._is_retaining = False

    # --- a life ---

    def cycle(self) -> None:
        """One life of the process, and the disk after it."""
        steps = self.chance.choice((3, 15, 40))
        if self.chance.random() < 0.6:
            self.storage.crash_at = self.storage.calls + self.chance.choice((5, 30, 120))
            self.storage.crash_at += self.chance.randrange(30)
        elif self.chance.random() < 0.15:
            self.storage.fail_sync_at = self.storage.calls + self.chance.randrange(100)
        try:
            self.start()
            for _ in range(steps):
                self.one_step()
            if self.chance.random() < 0.4:
                self.stop()
                return
        except (Crashed, StorageFailed) as end:
            if isinstance(end, DiskFull) and self.storage.capacity is None:
                raise
            if type(end) is StorageFailed and self.storage.fail_sync_at is None:
                raise
        self.end_of_life()
        if self.chance.random() < 0.8:
            self.storage.capacity = None

    def start(self) -> None:
        self.restarts += 1
        self.storage.now_ms = self.now_ms
        self.flusher = self.flusher_class(self.storage, self._round_complete, _ignore)
        self.folder = DataFolder(self.storage, ROOT, self.flusher)
        self.logs = {}
        for sent in (sent for producer in self.producers for sent in producer.in_flight):
            sent.base_offset = -1
        self.plain_in_flight.clear()
        if self.chance.random() < 0.2:
            self.retain()  # before anybody has opened a log
        wanted = [key for key in PARTITIONS if key not in self.logs and self.chance.random() < 0.9]
        if self.chance.random() < 0.5:
            with self.folder.recovering():
                for key in wanted:
                    self.open(key)
            for key in wanted:
                self.check(key)
        for key in wanted:
            self.log(key)

    def open(self, key: TopicPartition) -> None:
        opened = self.folder.open_log(key, self.config, TOPIC_ID, self.now_ms)
        if opened.damage:
            raise Broken(f"damage where nothing was damaged: {opened.damage}")
        self.logs[key] = opened

    def log(self, key: TopicPartition) -> Log:
        if key not in self.logs:
            self.open(key)
            self.check(key)
        return self.logs[key]

    def stop(self) -> None:
        """Stop cleanly; the folder is as it is, and whatever is not synced is lost all the same."""
        self.folder.close()
        self.end_of_life()

    def end_of_life(self) -> None:
        if self.chance.random() < 0.6:
            self.storage = self.storage.crash(self.chance)
            for told in self.partitions.values():
                told.written.clear()
        else:
            self.storage = self.storage.kill(self.chance)

    def _round_complete(self, durables: list[Durable]) -> None:
        for durable in durables:
            durable.apply()
        for producer in self.producers:
            self._acknowledge(producer)
        still: list[tuple[TopicPartition, int, list[bytes]]] = []
        for key, base_offset, values in self.plain_in_flight:
            if self.logs[key].durable_offset >= base_offset + len(values):
                self.partitions[key].acknowledged.update(enumerate(values, base_offset))
            else:
                still.append((key, base_offset, values))
        self.plain_in_flight = still

    def _acknowledge(self, producer: Producer) -> None:
        log = self.logs.get(producer.partition)
        while log is not None and producer.in_flight:
            sent = producer.in_flight[0]
            if sent.base_offset < 0 or sent.base_offset + len(sent.values) > log.durable_offset:
                return
            told = self.partitions[producer.partition]
            told.acknowledged.update(enumerate(sent.values, sent.base_offset))
            del producer.in_flight[0]

    # --- what happens ---

    def one_step(self) -> None:
        self.now_ms += self.chance.choice((0, 1, 10, 500, 3_000))
        self.storage.now_ms = self.now_ms
        step = self.chance.choices(
            (
                self.produce,
                self.produce_plain,
                self.sync,
                self.consume,
                self.upkeep,
                self.fill_disk,
                self.roll,
            ),
            (10, 3, 6, 3, 2, 0.3, 0.3),
        )[0]
        step()

    def produce(self) -> None:
        producer = self.chance.choice(self.producers)
        unsent = [sent for sent in producer.in_flight if sent.base_offset < 0]
        if not unsent and len(producer.in_flight) < MAX_IN_FLIGHT:
            unsent = [producer.new_batch(self.chance)]
        for sent in unsent:  # in order: a client does not overtake itself
            if not self._send(producer, sent):
                return
        if producer.in_flight and self.chance.random() < 0.2:  # an answer was lost: the same again
            self._send(producer, self.chance.choice(producer.in_flight))

    def _send(self, producer: Producer, sent: Sent) -> bool:
        timestamp = self.now_ms - self.chance.randrange(1000)
        batch = build(
            [self.record(timestamp, value) for value in sent.values],
            producer_id=producer.producer_id,
            producer_epoch=0,
            base_sequence=sent.base_sequence,
        )
        log = self.log(producer.partition)
        view = memoryview(batch)
        try:
            appended = log.append(view, parse_batches(view), self.now_ms)
        except DiskFull:
            return False
        except ApiError as error:
            return self.send_failed(log, producer, sent, error)
        if appended.duplicate and sent.base_offset not in (-1, appended.base_offset):
            raise Broken(f"{sent} is a duplicate of what is at {appended.base_offset}")
        sent.base_offset = sent.written_at = appended.base_offset
        # A duplicate may be durable already: nothing moves that would acknowledge it.
        self._acknowledge(producer)
        return True

    def record(self, timestamp: int, value: bytes) -> Record:
        return Record(timestamp=timestamp, value=value)

    def send_failed(self, log: Log, producer: Producer, sent: Sent, error: ApiError) -> bool:
        """A batch was refused: True if that is right."""
        if -1 < sent.written_at < log.log_start_offset:
            # It was written, the answer was lost, and retention has deleted it since, with what there was
            # to recognise it by. An error is the right answer, and a client gives up.
            producer.in_flight.remove(sent)
            return True
        raise Broken(f"{producer}: {error}") from error

    def produce_plain(self) -> None:
        key = self.chance.choice(PARTITIONS)
        log = self.log(key)
        values = []
        batches = bytearray()
        for _ in range(self.chance.choice((1, 1, 3))):
            self.plain += 1
            values.append(f"plain:{self.plain}:".encode() + bytes(self.chance.randrange(200)))
            batches += build([self.record(self.now_ms, values[-1])])
        view = memoryview(batches)
        try:
            appended = log.append(view, parse_batches(view), self.now_ms)
        except DiskFull:
            return
        self.plain_in_flight.append((key, appended.base_offset, values))
        self.partitions[key].written.update(enumerate(values, appended.base_offset))

    def sync(self) -> None:
        if self.flusher.is_dirty:
            self.flusher.run_round()
        if self.flusher.failure is not None:
            raise self.flusher.failure

    def roll(self) -> None:
        try:
            self.log(self.chance.choice(PARTITIONS)).roll(self.now_ms)
        except DiskFull:
            return

    def upkeep(self) -> None:
        if self.chance.randrange(4) == 0:
            self.retain()
            return
        key = self.chance.choice(PARTITIONS)
        log = self.log(key)
        told = self.partitions[key]
        try:
            kind = self.chance.randrange(3)
            if kind == 0:
                self.folder.checkpoint()
            elif kind == 1:
                log.delete_due_files(self.now_ms)
            elif log.high_watermark > log.log_start_offset:
                offset = self.chance.randint(log.log_start_offset, log.high_watermark)
                told.log_start_offset = max(told.log_start_offset, log.delete_records_before(offset))
        except DiskFull:
            return
        finally:
            told.forget_below(log.log_start_offset)

    def retain(self) -> None:
        """A round of retention over some logs, with others at work between its steps."""
        if self._is_retaining:
            return
        self._is_retaining = True
        retention = RetentionRound(self.save_log_starts, self.now_ms)
        try:
            for key in self.chance.sample(PARTITIONS, self.chance.randint(1, len(PARTITIONS))):
                self._plan(retention, key)
                self._meanwhile()
            retention.save()
            for planned in retention.planned:
                self._meanwhile()
                retention.carry_out(planned)
                told = self.partitions[planned.key]
                told.log_start_offset = max(told.log_start_offset, planned.log.log_start_offset)
        except DiskFull:
            return
        finally:
            self._is_retaining = False
            for key, log in self.logs.items():
                self.partitions[key].forget_below(log.log_start_offset)

    def save_log_starts(self, starts: Mapping[TopicPartition, int]) -> None:
        self.folder.save_log_starts(starts)

    def _plan(self, retention: RetentionRound, key: TopicPartition) -> None:
        may_be_due = self.folder.may_be_due(key, self.config, self.now_ms)
        self.quiet += not may_be_due
        retention.plan(key, self.log(key))
        if not may_be_due and retention.planned and retention.planned[-1].key == key:
            raise Broken(f"{self.logs[key]}: retention found something where nothing was due")

    def _meanwhile(self) -> None:
        if self.chance.random() < 0.2:
            self.one_step()

    def fill_disk(self) -> None:
        if self.storage.capacity is None:
            self.storage.capacity = self.storage.used_bytes() + self.chance.randrange(2_000)
        else:
            self.storage.capacity = None

    def consume(self) -> None:
        """Read on from somewhere, as a consumer does, and remember what was seen."""
        key = self.chance.choice(PARTITIONS)
        log = self.log(key)
        if log.log_start_offset == log.high_watermark:
            return
        offset = self.chance.randrange(log.log_start_offset, log.high_watermark)
        told = self.partitions[key]
        for _ in range(self.chance.choice((1, 3))):
            found = self._read(log, offset, self.chance.choice((1, 500, 4000)))
            for at, value in found:
                self._expect(told.visible, key, at, value)
                told.visible[at] = value
                offset = at + 1

    def _read(self, log: Log, offset: int, max_bytes: int) -> list[tuple[int, bytes]]:
        piece = log.read(offset, max_bytes, log.high_watermark, True)
        if piece is None:
            if offset < log.high_watermark:
                raise Broken(f"{log}: nothing at {offset}")
            return []
        data = memoryview(piece.read())
        records = []
        batches = parse_batches(data)
        if not batches[0].base_offset <= offset <= batches[0].last_offset:
            raise Broken(f"{log}: asked for {offset}, got {batches[0]}")
        if len(batches) > 1 and len(data) > max_bytes:
            raise Broken(f"{log}: {len(data)} bytes where {max_bytes} were asked for")
        for batch in batches:
            if not crc_is_valid(data, batch):
                raise Broken(f"{log}: the CRC of {batch} is wrong")
            records += [(r.offset, r.value or b"") for r in iterate(data, batch, MAX_RECORD_BYTES)]
        if records[-1][0] >= log.high_watermark:
            raise Broken(f"{log}: record {records[-1][0]} was given out")
        return [record for record in records if record[0] >= offset]

    # --- what must hold ---

    def check(self, key: TopicPartition) -> None:
        """Everything a log holds, after it was opened."""
        log, told = self.logs[key], self.partitions[key]
        told.forget_below(log.log_start_offset)
        if log.log_start_offset < told.log_start_offset:
            raise Broken(f"{log}: deleted records are back, below {told.log_start_offset}")
        told.acknowledged.update(told.written)  # recovery has synced what it found
        highest = max([*told.acknowledged, *told.visible], default=-1)
        if log.high_watermark <= highest:
            raise Broken(f"{log}: offset {highest} was told and is gone")
        content: dict[int, bytes] = {}
        offset = log.log_start_offset
        while offset < log.high_watermark:
            for at, value in self._read(log, offset, 3000):
                if at != offset:
                    raise Broken(f"{log}: offset {at} follows {offset - 1}")
                content[at] = value
                offset += 1
        for told_of in (told.acknowledged, told.visible):
            for at, value in told_of.items():
                self._expect(content, key, at, value)
        if len(set(content.values())) != len(content):
            raise Broken(f"{log}: a record is there twice")

    def _expect(self, known: dict[int, bytes], key: TopicPartition, offset: int, value: bytes) -> None:
        if known.get(offset, value) != value:
            raise Broken(f"{key}: at {offset} was {known[offset]!r}, now {value!r}")

    def finish(self) -> None:
        """Whatever is still in flight gets through in the end, once each."""
        self.storage.capacity = None
        self.start()
        self.storage.capacity = None  # what happened before anybody opened a log may have filled the disk
        for producer in self.producers:
            for sent in list(producer.in_flight):
                if not self._send(producer, sent):
                    raise Broken(f"{sent} cannot be written")
        self.sync()
        for producer in self.producers:
            if producer.in_flight:
                raise Broken(f"{producer} is still waiting")
        for key in PARTITIONS:
            self.check_after_finish(key)

    def check_after_finish(self, key: TopicPartition) -> None:
        self.log(key)
        self.check(key)


def _ignore(failure: StorageFailed) -> None:
    """The world sees a failed flusher at its next step."""
