"""Transactional producers on a network that delays and doubles, against a broker that loses power.

Everything is drawn from a seed. Workers take numbers from an input, write each to an output in a transaction together
with how far they are (TxnOffsetCommit), and sometimes abort; two of them share a transactional id and fence each other.
Others write to several partitions. Requests and answers are delayed, doubled and lost; the broker crashes, and of each
log an arbitrary part of what was not durable is gone, of one log more than of another. Clients are killed, too. In some
schedules the power goes at the worst moments (`Aim`): right after a decision, or soon after somebody was told of one.

Clients of transaction version 2 are on a network that may deliver a request a second time whenever it likes: a late
EndTxn, Produce or TxnOffsetCommit must not reach the next transaction. Version 1 cannot tell these apart (KIP-890 says
so of Kafka, too), so its clients' requests come in order, over a connection that ends where they give up.

Coordinators, their records, the producers' state of every partition are the real ones. Checked at the end, when all is
quiet: `histories.anomalies`; every input is in the output once; nothing hangs; replaying the log gives the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum
from random import Random
from typing import Any, Final

from broker.coordinator.answers import gathered
from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.group_records import partition_for
from broker.coordinator.offsets import Commit, CommitOffset
from broker.coordinator.settings import GroupSettings, TransactionSettings
from broker.coordinator.transaction import OVER, Transactions
from broker.coordinator.transaction_coordinator import TransactionCoordinator
from broker.coordinator.transaction_decide import AddPartitions, Granted
from broker.coordinator.transaction_ports import Marker, MarkersUnderWay
from broker.coordinator.transaction_records import decode
from broker.coordinator.transactional_offsets import Producer
from broker.topics.names import CONSUMER_OFFSETS
from protocol.errors import ApiError, ErrorCode
from tests.broker.coordinator.fakes import FakeHost
from tests.broker.coordinator.transaction_fakes import FakeProducerIds, FakeTransactionLog
from tests.simulation.histories import End, History, Poll, anomalies
from tests.simulation.transactional_partition import SimulatedOffsets, SimulatedPartition
from wal.producer_state import ProducerState

TIMEOUT_MS: Final = 3000
"""Of a transaction."""
REQUEST_TIMEOUT_MS: Final = 400
RETRY_MS: Final = 40
RESTART_MS: Final = 200
INPUTS: Final = 30
PARTITIONS: Final = 3
OUTPUT: Final = "output"
GROUP: Final = "group"
LATEST_MS: Final = 2500
"""How late a doubled request of version 2 comes at most."""

RETRIABLE: Final = frozenset(
    (
        ErrorCode.CONCURRENT_TRANSACTIONS,
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.UNSTABLE_OFFSET_COMMIT,
    )
)


class Aim(Enum):
    """When the power goes."""

    ANY = "some time after a request"
    DECIDED = "in the moment after an end was decided"
    TOLD = "soon after an answer to InitProducerId or EndTxn has left"
    BEGUN = "right after records of a transaction, which are kept while what the coordinator knows is not"


AIMED_CRASH: Final = 0.15
"""How likely it goes at each such moment."""
AIMED_CRASHES: Final = 6
SOON_MS: Final = 12
"""A client has heard and asked for the next thing."""

Request = tuple[Any, ...]
Script = Generator[Request, Any, None]


class SimulatedMarkers:
    """`Markers` on the simulated partitions and groups."""

    def __init__(self, world: World) -> None:
        self._world = world

    def append(self, topic: str, partition: int, marker: Marker, now_ms: int) -> bool:
        world = self._world
        if topic == CONSUMER_OFFSETS:
            world.offsets_log.mark(partition, marker)
            world.groups.end_transaction(partition, marker.producer_id, marker.is_committed)
        else:
            world.partitions[topic, partition].mark(marker)
        return True

    def when_durable(self, topic: str, partition: int, waiter: Any) -> bool:
        if topic == CONSUMER_OFFSETS:
            return self._world.offsets_log.when_durable(partition, waiter)
        return self._world.partitions[topic, partition].when_durable(waiter)


class World:
    """One schedule. What is to be made wrong, to see that it is found, is a subclass."""

    MARKERS = SimulatedMarkers
    COORDINATOR = TransactionCoordinator

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.host = FakeHost()
        self.history = History()
        self.version = random.choice((1, 2, 2))
        self.loss = random.choice((0.0, 0.02, 0.1))
        self.doubling = random.choice((0.0, 0.1, 0.3))
        self.slowest_sync_ms = random.choice((5, 20, 80))
        crashes = random.choice((0, 2, 6))
        self.aim = random.choice((Aim.ANY, Aim.ANY, Aim.DECIDED, Aim.TOLD, Aim.BEGUN))
        self._crashes = {random.randint(1, 300) for _ in range(crashes)}  # after so many requests
        self._aimed_crashes = AIMED_CRASHES
        self._served = 0
        self.death = random.choice((0.0, 0.0, 0.5))  # of a client whose request is not answered
        if self.aim is not Aim.ANY:
            self.death = 0.5
        self.partitions = {(OUTPUT, index): SimulatedPartition() for index in range(PARTITIONS)}
        self.transaction_log = FakeTransactionLog(is_synchronous=False)
        self.offsets_log = SimulatedOffsets()
        self.producer_ids = FakeProducerIds()
        self.is_up = True
        self.is_calm = False
        self.life = 0
        self.running = 0
        self.values = 0
        self._positions = dict.fromkeys(self.partitions, 0)
        self._start()

    # --- the broker ---

    def _start(self) -> None:
        self.groups = GroupCoordinator(self.offsets_log, self.host, GroupSettings())
        self.groups.load()
        self.transactions = self.COORDINATOR(
            self.transaction_log, self.MARKERS(self), self.producer_ids, self.host, TransactionSettings()
        )
        self.transactions.load()
        for place, partition in self.partitions.items():
            self._adopt(place, partition.producers)
        for index, producers in enumerate(self.offsets_log.producers):
            self._adopt((CONSUMER_OFFSETS, index), producers)
        self.is_up = True

    def _adopt(self, place: tuple[str, int], producers: ProducerState) -> None:
        for entry in producers:
            if producers.has_open_transaction(entry.producer_id):
                self.transactions.adopt(entry.producer_id, entry.producer_epoch, *place)

    def crash(self) -> None:
        """Power is lost: of each log, some of what was not durable is gone."""
        if not self.is_up or self.is_calm:
            return
        self.is_up = False
        self.life += 1
        self.transactions.close()
        self.groups.close()

        def keep(count: int) -> int:
            return self.random.choice((0, count, self.random.randint(0, count)))

        def keep_all(count: int) -> int:
            return count

        def keep_nothing(count: int) -> int:
            return 0

        is_torn = self.aim is Aim.BEGUN
        for log in (*self.partitions.values(), self.offsets_log):
            log.crash(keep_all if is_torn else keep)
        self.transaction_log.crash(keep_nothing if is_torn else keep)
        self.host.call_later(RESTART_MS, self._start)

    def sync(self) -> None:
        """A round of the flusher; it takes some logs, or all."""
        if self.is_up:
            logs: list[Any] = [*self.partitions.values(), self.transaction_log, self.offsets_log]
            chosen = logs if self.is_calm else self.random.sample(logs, self.random.randint(1, len(logs)))
            for log in chosen:
                log.sync()
        self.host.call_later(self.random.randint(1, self.slowest_sync_ms), self.sync)

    def serve(self, request: Request, reply: Callable[[Any], None]) -> None:
        """What the handlers do."""
        self._served += 1
        kind, transactional_id, *arguments = request
        if self.aim is Aim.ANY and self._served in self._crashes:
            self.host.call_later(self.random.randint(1, self.slowest_sync_ms), self.crash)
        if self.aim is Aim.DECIDED and kind == "end":
            self._crash_in(0)
        if self.aim is Aim.TOLD and kind in ("init", "end"):
            reply = self._then_crash(reply)
        if kind == "init":
            granted = self.transactions.init_producer_id(transactional_id, TIMEOUT_MS, None)
            granted.then(lambda granted: reply(granted))
        elif kind == "end":
            producer, is_committed = arguments
            version = 2 if self.version == 2 else 0
            self.transactions.end(transactional_id, *producer, is_committed, version).then(reply)
        elif kind == "add":
            producer, place = arguments
            asked = AddPartitions(transactional_id, *producer, frozenset((place,)))
            self.transactions.add(asked).then(lambda code: reply(Granted(code)))
        elif kind in ("produce", "offsets"):
            write = self._produce if kind == "produce" else self._commit_offsets
            write(transactional_id, *arguments, reply=reply)
            if self.aim is Aim.BEGUN and self._is_undecided(transactional_id):
                self._crash_in(0)
        else:
            assert kind == "fetch"
            if self.groups.groups.offsets.pending.is_pending(GROUP, "input", 0):
                reply(Granted(ErrorCode.UNSTABLE_OFFSET_COMMIT))
                return
            self.groups.committed(GROUP, [("input", 0)]).then(
                lambda found: reply(Granted(ErrorCode.NONE, found[0].offset if found[0] else 0))
            )

    def _crash_in(self, delay_ms: int) -> None:
        if self._aimed_crashes and self.random.random() < AIMED_CRASH:
            self._aimed_crashes -= 1
            self.host.call_later(delay_ms, self.crash)

    def _then_crash(self, reply: Callable[[Any], None]) -> Callable[[Any], None]:
        def told(answer: Any) -> None:
            reply(answer)
            self._crash_in(self.random.randint(1, SOON_MS))

        return told

    def _admit(self, transactional_id: str, producer: Producer, place: tuple[str, int]) -> ErrorCode:
        asked = AddPartitions(transactional_id, *producer, frozenset((place,)), 2)
        if self.version == 2:
            return self.transactions.add_now(asked)
        return self.transactions.verify(asked)[place]

    def _produce(
        self,
        transactional_id: str,
        producer: Producer,
        place: tuple[str, int],
        sequence: int,
        value: Any,
        *,
        reply: Callable[[Any], None],
    ) -> None:
        code = self._admit(transactional_id, producer, place)
        partition = self.partitions[place]
        try:
            if code:
                raise ApiError(code)
            offset = partition.append(producer, sequence, value)
        except ApiError as error:
            reply(Granted(error.code))
            return
        under_way = MarkersUnderWay(lambda: reply(Granted(ErrorCode.NONE, offset)))
        for waits in (partition.when_durable, self._decided(transactional_id)):
            if waits(under_way):
                under_way.missing += 1
        under_way.durable()

    def _is_undecided(self, transactional_id: str) -> bool:
        """Whether a crash could undo what has been decided on an id."""
        log = self.transaction_log
        index = partition_for(transactional_id, log.partition_count)
        return log.durable_offset(index) < log.end_offset(index)

    def _decided(self, transactional_id: str) -> Callable[[Any], bool]:
        return lambda waiter: self.transactions.when_durable(transactional_id, waiter)

    def _commit_offsets(
        self, transactional_id: str, producer: Producer, offset: int, *, reply: Callable[[Any], None]
    ) -> None:
        index = partition_for(GROUP, self.offsets_log.partition_count)
        code = self._admit(transactional_id, producer, (CONSUMER_OFFSETS, index))
        if code:
            reply(Granted(code))
            return
        commit = Commit(GROUP, -1, "", None, [CommitOffset("input", 0, offset)], producer=producer)
        both = gathered([self.groups.commit(commit), self.transactions.durable(transactional_id)])
        both.then(lambda results: reply(Granted(results[0][0])))

    # --- readers ---

    def poll(self) -> None:
        if self.is_up:
            place = self.random.choice(list(self.partitions))
            partition = self.partitions[place]
            found = [(place, offset, value) for offset, value in partition.read(self._positions[place])]
            self._positions[place] = max(self._positions[place], partition.last_stable_offset)
            self.history.polls.append(Poll("reader", found))
        self.host.call_later(self.random.randint(5, 60), self.poll)

    # --- the whole ---

    def run(self) -> History:
        random = self.random
        self.host.call_later(1, self.sync)
        self.host.call_later(1, self.poll)
        for number in range(2):
            Client(self, worker(self, random.choice((0, 0, 2)) if number else 1000)).start(number * 700)
        for number in range(random.choice((0, 1, 3))):
            Client(self, writer(self, f"writer-{number}")).start(random.randint(0, 500))
        self.host.call_later(8000, self._calm)
        self._until(lambda: self.is_calm and not self.running, 300_000)
        self._until(self._is_quiet, 30_000)
        for place, partition in self.partitions.items():
            self.history.final[place] = list(partition.read(0))
        return self.history

    def _calm(self) -> None:
        self.is_calm = True
        self.loss = self.doubling = self.death = 0.0

    def _until(self, condition: Callable[[], bool], limit_ms: int) -> None:
        end_ms = self.host.now_ms + limit_ms
        while not condition():
            assert self.host.now_ms < end_ms, "it never comes to rest"
            self.host.run_next()

    def _is_quiet(self) -> bool:
        return (
            self.is_up
            and all(transaction.state in OVER for transaction in self.transactions.transactions)
            and all(
                partition.last_stable_offset == len(partition.entries)
                for partition in self.partitions.values()
            )
        )

    def problems(self) -> list[str]:
        """What is wrong at the end."""
        found = anomalies(self.history)
        numbers = sorted(
            value[1] for records in self.history.final.values() for _, value in records if value[0] == "input"
        )
        if numbers != list(range(INPUTS)):
            found.append(f"not exactly once: {numbers}")
        if self.groups.groups.offsets.pending:
            found.append(f"pending for ever: {list(self.groups.groups.offsets.pending)}")
        replayed = Transactions()
        for index in range(self.transaction_log.partition_count):
            for record in self.transaction_log.replay(index):
                decoded = decode(*record)
                replayed.apply(decoded.key, decoded)
        live = {
            name: known._replace(last_producer_epoch=-1)
            for name, known in self.transactions.transactions.by_id.items()
        }
        if replayed.by_id != live:
            found.append(f"replay differs: {replayed.by_id} {live}")
        again = GroupCoordinator(self.offsets_log, FakeHost(), GroupSettings())
        again.load()
        if again.groups.offsets.by_group != self.groups.groups.offsets.by_group:
            found.append("replay of the offsets differs")
        return found


# --- clients ---------------------------------------------------------------------------------------------------


class Client:
    """Runs a script: sends its requests over the network, and gives it the answer, or None where none came."""

    def __init__(self, world: World, script: Script) -> None:
        self._world = world
        self._script = script
        self._connection = 0
        self._asked = False
        self._last_delivery_ms = 0

    def start(self, delay_ms: int) -> None:
        self._world.running += 1
        self._world.host.call_later(delay_ms, lambda: self._step(None))

    def _step(self, answer: Any) -> None:
        is_killed = answer is None and self._asked and self._world.random.random() < self._world.death
        try:
            request = self._script.throw(Failed()) if is_killed else self._script.send(answer)
        except StopIteration:
            self._world.running -= 1
            return
        self._asked = request[0] != "sleep"
        if not self._asked:
            self._world.host.call_later(request[1], lambda: self._step(None))
            return
        self._send(request)

    def _send(self, request: Request) -> None:
        world, random = self._world, self._world.random
        is_over = False

        def answered(answer: Any) -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._step(answer)

        def timed_out() -> None:
            if not is_over:
                self._connection += 1  # what is still under way on the old one is never read
                answered(None)

        delay_ms = random.choice((1, 1, 5, random.randint(1, 300)))
        if world.is_calm:
            delay_ms = 1
        self._last_delivery_ms = max(self._last_delivery_ms, world.host.now_ms + delay_ms)
        delay_ms = self._last_delivery_ms - world.host.now_ms if world.version == 1 else delay_ms
        if random.random() >= world.loss:
            world.host.call_later(delay_ms, self._delivery(request, answered, self._connection))
        if world.version == 2 and random.random() < world.doubling:
            late_ms = random.randint(1, LATEST_MS)
            world.host.call_later(late_ms, self._delivery(request, answered, self._connection))
        world.host.call_later(REQUEST_TIMEOUT_MS, timed_out)

    def _delivery(
        self, request: Request, answered: Callable[[Any], None], connection: int
    ) -> Callable[[], None]:
        world = self._world

        def deliver() -> None:
            if not world.is_up or (world.version == 1 and connection != self._connection):
                return
            life = world.life

            def reply(answer: Any) -> None:
                if life == world.life and world.random.random() >= world.loss:
                    world.host.call_later(world.random.randint(1, 5), lambda: answered(answer))

            world.serve(request, reply)

        return deliver


class Failed(Exception):
    """The transaction cannot go on."""


def call(*request: Any, tries: int = 200) -> Generator[Request, Any, Granted]:
    """Ask until there is an answer that says something."""
    for _ in range(tries):
        answer = yield request
        if answer is not None and answer.error not in RETRIABLE:
            return answer
        yield "sleep", RETRY_MS
    raise Failed


class Session:
    """A producer from one InitProducerId to the next."""

    def __init__(self, world: World, transactional_id: str, granted: Granted) -> None:
        self.world = world
        self.transactional_id = transactional_id
        self.producer = Producer(granted.producer_id, granted.producer_epoch)
        self._sequences: dict[int, int] = {}
        self._added: set[Any] = set()

    def write(self, transaction: Any, value: Any) -> Script:
        index = self.world.random.randrange(PARTITIONS)
        place = OUTPUT, index
        yield from self._add(place)
        transaction.writes[value] = place, None
        sequence = self._sequences.get(index, 0)
        answer = yield from call(
            "produce", self.transactional_id, self.producer, place, sequence, value, tries=20
        )
        if answer.error:
            raise Failed
        self._sequences[index] = sequence + 1
        transaction.writes[value] = place, answer.producer_id

    def _add(self, place: tuple[str, int]) -> Script:
        if self.world.version == 1 and place not in self._added:
            answer = yield from call("add", self.transactional_id, self.producer, place, tries=20)
            if answer.error:
                raise Failed
            self._added.add(place)

    def commit_offset(self, offset: int) -> Script:
        index = partition_for(GROUP, self.world.offsets_log.partition_count)
        yield from self._add((CONSUMER_OFFSETS, index))
        answer = yield from call("offsets", self.transactional_id, self.producer, offset, tries=20)
        if answer.error:
            raise Failed

    def end(self, transaction: Any, is_committed: bool) -> Script:
        """Raises Failed where the producer cannot go on; the end is then not known."""
        answer = yield from call("end", self.transactional_id, self.producer, is_committed)
        if answer.error:
            raise Failed
        transaction.end = End.COMMITTED if is_committed else End.ABORTED
        self._added.clear()
        if self.world.version == 2:
            self.producer = Producer(answer.producer_id, answer.producer_epoch)
            self._sequences.clear()


def new_session(world: World, transactional_id: str) -> Generator[Request, Any, Session]:
    answer = yield from call("init", transactional_id)
    assert not answer.error, answer
    return Session(world, transactional_id, answer)


def worker(world: World, lives: int) -> Script:
    """Consume, transform, produce; as one of several with the same transactional id."""
    while lives:
        lives -= 1
        try:
            session = yield from new_session(world, "pipeline")
            answer = yield from call("fetch", "pipeline")
            offset = answer.producer_id
            while offset < INPUTS:
                end = min(INPUTS, offset + world.random.randint(1, 3))
                transaction = world.history.begin()
                for number in range(offset, end):
                    world.values += 1
                    yield from session.write(transaction, ("input", number, world.values))
                yield from session.commit_offset(end)
                is_committed = world.random.random() < 0.8
                yield from session.end(transaction, is_committed)
                offset = end if is_committed else offset
            return
        except Failed:
            yield "sleep", world.random.randint(1, 500)


def writer(world: World, transactional_id: str) -> Script:
    """Transactions over several partitions, now and then left lying."""
    for _ in range(4):
        try:
            session = yield from new_session(world, transactional_id)
            for _ in range(world.random.randint(1, 6)):
                transaction = world.history.begin()
                for _ in range(world.random.randint(1, 4)):
                    world.values += 1
                    yield from session.write(transaction, ("other", world.values))
                if world.random.random() < 0.1:
                    return
                yield from session.end(transaction, world.random.random() < 0.7)
        except Failed:
            yield "sleep", world.random.randint(1, 500)


def problems(seed: int, world_class: type[World] = World) -> list[str]:
    """What is wrong with the schedule of a seed."""
    world = world_class(seed)
    try:
        world.run()
    except AssertionError as error:
        return [str(error) or repr(error)]
    return world.problems()
