"""Reading a data folder offline: segments, their batches and indexes, and what is wrong with them.

Nothing here opens a file for writing or asks a broker. Layout (Kafka's): a folder per partition, in it
`<base offset, 20 digits>.log` with record batches back to back, and beside it
    .index       8 bytes an entry: int32 offset relative to the base, int32 position of a batch that holds
    it or precedes it
    .timeindex  12 bytes an entry: int64 largest timestamp so far, int32 relative offset of the record that
    has it
    .txnindex   34 bytes an entry: int16 version, int64 producer id, first offset, last offset, last stable
    offset
An index may be preallocated, so an entry of zeros after the first ends it; so may a log.
"""

import mmap
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from protocol.records import BATCH_OVERHEAD, CorruptBatch, RecordBatch, crc_is_valid, iterate, parse_header

MAX_DECOMPRESSED_BYTES = 1 << 30  # a file on one's own disk: only a bomb is larger

_LOG_NAME = re.compile(r"\d{20}\.log")
_INDEX_ENTRY = struct.Struct(">ii")
_TIME_ENTRY = struct.Struct(">qi")
_TXN_ENTRY = struct.Struct(">hqqqq")
_ZERO_CHUNK = bytes(1 << 20)


@dataclass(slots=True)
class Problem:
    """Something wrong in a file: where, and what."""

    path: Path
    position: int
    offset: int | None
    what: str

    def __str__(self) -> str:
        offset = "" if self.offset is None else f", offset {self.offset}"
        return f"{self.path}: position {self.position}{offset}: {self.what}"


@dataclass(slots=True)
class Check:
    """What a walk over one segment found."""

    path: Path
    base_offset: int
    batches: int = 0
    records: int = 0
    size_bytes: int = 0  # of whole batches, without preallocated zeros
    next_offset: int = 0
    problems: list[Problem] = field(default_factory=list)


class Segment:
    """One `.log` file, mapped read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base_offset = int(path.stem)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.buffer = memoryview(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) if size else b"")

    def batches(self) -> Iterator[RecordBatch]:
        """Yield the batches in file order. Raises CorruptBatch where the bytes are no batch; zeros to the
        end are the end.
        """
        position, size = 0, len(self.buffer)
        while position < size:
            if self._is_zero_from(position):
                return
            if size - position < BATCH_OVERHEAD:
                raise CorruptBatch(f"{size - position} bytes are left, fewer than a batch header", position)
            batch = _parse(self.buffer, position)
            if batch.size > size - position:
                raise CorruptBatch(f"the batch says {batch.size} bytes, {size - position} are left", position)
            yield batch
            position += batch.size

    def _is_zero_from(self, position: int) -> bool:
        if any(self.buffer[position : position + BATCH_OVERHEAD]):
            return False
        for start in range(position, len(self.buffer), len(_ZERO_CHUNK)):
            chunk = self.buffer[start : start + len(_ZERO_CHUNK)]
            if chunk != _ZERO_CHUNK[: len(chunk)]:
                return False
        return True


def _parse(buffer: memoryview, position: int) -> RecordBatch:
    try:
        return parse_header(buffer, position)
    except CorruptBatch as error:
        raise CorruptBatch(str(error), position) from error


def find_segments(path: Path) -> list[Path]:
    """Return the `.log` files at or below `path` (a file, a partition's folder or a data folder), in order
    of folder and offset.
    """
    if path.is_file():
        return [path]
    found = [file for file in path.rglob("*.log") if _LOG_NAME.fullmatch(file.name)]
    return sorted(found, key=lambda file: (_partition_key(file.parent), file.name))


def _partition_key(folder: Path) -> tuple[str, str, int]:
    topic, _, partition = folder.name.rpartition("-")
    return str(folder.parent), topic or folder.name, int(partition) if partition.isdigit() else -1


def check_segment(path: Path, expected_offset: int | None, *, deep: bool, allow_gaps: bool) -> Check:
    """Walk a segment and its indexes. `expected_offset` is where the partition's previous segment ended
    (None: first).
    """
    segment = Segment(path)
    check = Check(path, segment.base_offset, next_offset=segment.base_offset)
    if expected_offset is not None and segment.base_offset != expected_offset:
        gap_is_fine = allow_gaps and segment.base_offset > expected_offset
        if not gap_is_fine:
            what = f"the segment starts at offset {segment.base_offset}, {expected_offset} was due"
            check.problems.append(Problem(path, 0, segment.base_offset, what))
    starts: dict[int, RecordBatch] = {}
    try:
        for batch in segment.batches():
            _check_batch(segment, batch, check, deep=deep, allow_gaps=allow_gaps)
            starts[batch.position] = batch
    except CorruptBatch as error:
        position = error.args[1] if len(error.args) > 1 else check.size_bytes
        check.problems.append(Problem(path, position, check.next_offset, str(error.args[0])))
    check.problems += _check_offset_index(path.with_suffix(".index"), check, starts)
    check.problems += _check_time_index(path.with_suffix(".timeindex"), check, list(starts.values()))
    check.problems += _check_txn_index(path.with_suffix(".txnindex"))
    return check


def _check_batch(segment: Segment, batch: RecordBatch, check: Check, *, deep: bool, allow_gaps: bool) -> None:
    def problem(what: str) -> None:
        check.problems.append(Problem(segment.path, batch.position, batch.base_offset, what))

    if not crc_is_valid(segment.buffer, batch):
        problem("the CRC does not match the bytes")
    elif deep:
        _check_records(segment, batch, problem_of=check.problems)
    expected = check.next_offset
    is_ahead = batch.base_offset > expected and (check.batches > 0 or not allow_gaps)
    if batch.base_offset < expected or (is_ahead and not allow_gaps):
        problem(f"the batch starts at offset {batch.base_offset}, {expected} was due")
    if batch.last_offset_delta < 0 or batch.record_count < 0:
        problem(f"last offset delta {batch.last_offset_delta}, record count {batch.record_count}")
    elif batch.record_count != batch.last_offset_delta + 1 and not allow_gaps:
        problem(f"{batch.record_count} records over {batch.last_offset_delta + 1} offsets")
    check.batches += 1
    check.records += max(batch.record_count, 0)
    check.size_bytes = batch.position + batch.size
    check.next_offset = max(check.next_offset, batch.next_offset)


def _check_records(segment: Segment, batch: RecordBatch, problem_of: list[Problem]) -> None:
    previous = batch.base_offset - 1
    try:
        for record in iterate(segment.buffer, batch, MAX_DECOMPRESSED_BYTES):
            if not previous < record.offset <= batch.last_offset:
                what = (
                    f"record offset {record.offset} after {previous}; the batch ends at {batch.last_offset}"
                )
                problem_of.append(Problem(segment.path, batch.position, record.offset, what))
            previous = record.offset
    except CorruptBatch as error:
        problem_of.append(Problem(segment.path, batch.position, previous + 1, str(error)))


def index_entries(path: Path, layout: struct.Struct) -> Iterator[tuple[int, ...]]:
    """Yield an index file's entries up to its preallocated end."""
    data = path.read_bytes()
    nothing = bytes(layout.size)
    for position in range(0, len(data) - layout.size + 1, layout.size):
        if position and data[position : position + layout.size] == nothing:
            return
        yield layout.unpack_from(data, position)


def _check_offset_index(path: Path, check: Check, starts: dict[int, RecordBatch]) -> list[Problem]:
    if not path.exists():
        return []  # rebuilt when the partition is next loaded
    problems: list[Problem] = []
    before = (-1, -1)
    for number, (relative_offset, position) in enumerate(index_entries(path, _INDEX_ENTRY)):
        if number == 0 and (relative_offset, position) == (0, 0):
            continue
        offset = check.base_offset + relative_offset
        batch = starts.get(position)
        if relative_offset <= before[0] or position <= before[1]:
            what = f"entry ({offset}, {position}) does not come after the one before it"
        elif batch is None:
            what = f"the entry of offset {offset} points at position {position}, where no batch starts"
        elif not batch.base_offset <= offset < check.next_offset:
            what = (
                f"the entry of offset {offset} points at the batch of {batch.base_offset}-{batch.last_offset}"
            )
        else:
            before = (relative_offset, position)
            continue
        problems.append(Problem(path, number * _INDEX_ENTRY.size, offset, what))
        before = (relative_offset, position)
    return problems


def _check_time_index(path: Path, check: Check, batches: list[RecordBatch]) -> list[Problem]:
    if not path.exists():
        return []
    problems: list[Problem] = []
    before = (-(1 << 63), -1)
    at, largest = 0, -1
    for number, (timestamp, relative_offset) in enumerate(index_entries(path, _TIME_ENTRY)):
        if number == 0 and (timestamp, relative_offset) == (0, 0):
            continue
        offset = check.base_offset + relative_offset
        while at < len(batches) and batches[at].last_offset <= offset:
            largest = max(largest, batches[at].max_timestamp)
            at += 1
        what = ""
        if timestamp < before[0] or relative_offset < before[1]:
            what = f"entry ({timestamp}, {offset}) does not come after the one before it"
        elif batches and offset >= check.next_offset:
            what = f"the entry of offset {offset} lies past the segment's end {check.next_offset}"
        elif timestamp < largest:
            what = f"timestamp {largest} lies before offset {offset}, whose entry says {timestamp} is largest"
        if what:
            problems.append(Problem(path, number * _TIME_ENTRY.size, offset, what))
        before = (timestamp, relative_offset)
    return problems


def _check_txn_index(path: Path) -> list[Problem]:
    if not path.exists():
        return []
    size = path.stat().st_size
    if size % _TXN_ENTRY.size:
        return [Problem(path, size - size % _TXN_ENTRY.size, None, "the last entry is cut short")]
    problems: list[Problem] = []
    before = -1
    for number, (_, producer_id, first_offset, last_offset, _) in enumerate(index_entries(path, _TXN_ENTRY)):
        if last_offset < first_offset or last_offset < before:
            what = (
                f"aborted transaction of producer {producer_id}: {first_offset}-{last_offset} after {before}"
            )
            problems.append(Problem(path, number * _TXN_ENTRY.size, first_offset, what))
        before = last_offset
    return problems
