"""Aborted transactions of one segment (KIP-98), in Kafka's `.txnindex` format.

The file is a sequence of 34-byte entries, big-endian, in the order the ABORT markers were written:

    version int16 (0), producer_id int64, first_offset int64, last_offset int64 (the marker's),
    last_stable_offset int64 (of the partition once the transaction was aborted)

A transaction's entry is in the segment of its marker, so a fetch collects from the segment it reads and goes
on into later segments until an entry's last stable offset shows that nothing further can overlap.
"""

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from struct import Struct
from typing import Final, NamedTuple

_ENTRY: Final = Struct(">hqqqq")
_VERSION: Final = 0

ENTRY_SIZE: Final = 34
assert _ENTRY.size == ENTRY_SIZE


class CorruptTransactionIndex(ValueError):
    """A transaction index's bytes are not what the format says."""


class AbortedTransaction(NamedTuple):
    """One aborted transaction; offsets inclusive, except that last_stable_offset is an end."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


_LAST_OFFSET: Final = attrgetter("last_offset")


def encode(transaction: AbortedTransaction) -> bytes:
    """The 34 bytes to append to the index file."""
    assert 0 <= transaction.first_offset <= transaction.last_offset
    return _ENTRY.pack(_VERSION, *transaction)


def decode(data: bytes | memoryview, segment_base_offset: int = 0) -> list[AbortedTransaction]:
    """All entries of a file. A last entry that is cut short is left out: it was being written in the crash.

    Raises CorruptTransactionIndex; the index can then be rebuilt from the segment.
    """
    entries: list[AbortedTransaction] = []
    whole = len(data) - len(data) % ENTRY_SIZE
    previous_last_offset = segment_base_offset - 1
    for version, *fields in _ENTRY.iter_unpack(memoryview(data)[:whole]):
        entry = AbortedTransaction(*fields)
        if version != _VERSION:
            raise CorruptTransactionIndex(f"entry {len(entries)} has version {version}")
        if not entry.first_offset <= entry.last_offset or entry.last_offset <= previous_last_offset:
            raise CorruptTransactionIndex(f"entry {len(entries)} is out of order: {entry}")
        previous_last_offset = entry.last_offset
        entries.append(entry)
    return entries


def collect(
    entries: Sequence[AbortedTransaction], fetch_offset: int, end_offset: int
) -> tuple[list[AbortedTransaction], bool]:
    """The transactions that overlap [fetch_offset, end_offset), and whether the search is complete.

    `entries` are in the order of their markers, as in the file.
    """
    overlapping: list[AbortedTransaction] = []
    start = bisect_left(entries, fetch_offset, key=_LAST_OFFSET)
    for index in range(start, len(entries)):
        entry = entries[index]
        if entry.first_offset < end_offset:
            overlapping.append(entry)
        if entry.last_stable_offset >= end_offset:
            return overlapping, True
    return overlapping, False


def entries_below(entries: Sequence[AbortedTransaction], offset: int) -> int:
    """How many leading entries remain when the log is truncated to `offset`."""
    for index, entry in enumerate(entries):
        if entry.last_offset >= offset:
            return index
    return len(entries)
