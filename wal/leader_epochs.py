"""Which leader epoch began at which offset (KIP-101), and Kafka's `leader-epoch-checkpoint` file.

The file is text, one item a line:

    0                   version
    2                   number of entries
    0 0                 epoch, start offset
    3 1500
"""

from bisect import bisect_right
from typing import Final, NamedTuple

UNDEFINED_EPOCH: Final = -1
UNDEFINED_EPOCH_OFFSET: Final = -1

_VERSION: Final = 0


class CorruptCheckpoint(ValueError):
    """A leader epoch checkpoint's text is not what the format says."""


class EpochEntry(NamedTuple):
    """One leader epoch and the offset of its first record."""

    epoch: int
    start_offset: int


class LeaderEpochs:
    """The leader epochs of one partition's log; epochs and start offsets both grow strictly."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[EpochEntry] = []

    @property
    def entries(self) -> tuple[EpochEntry, ...]:
        return tuple(self._entries)

    @property
    def latest_epoch(self) -> int:
        """The newest epoch that has records; -1 if none has."""
        return self._entries[-1].epoch if self._entries else UNDEFINED_EPOCH

    def assign(self, epoch: int, start_offset: int) -> bool:
        """Note that `epoch` began at `start_offset`; True if that changed anything (and must be written).

        What contradicts it (later epochs, later offsets) goes: it was never written to or has been truncated.
        """
        assert epoch >= 0 and start_offset >= 0
        entries = self._entries
        if entries and entries[-1].epoch == epoch and start_offset >= entries[-1].start_offset:
            return False
        while entries and (entries[-1].epoch >= epoch or entries[-1].start_offset >= start_offset):
            entries.pop()
        entries.append(EpochEntry(epoch, start_offset))
        return True

    def epoch_end_offset(self, requested_epoch: int, log_end_offset: int) -> tuple[int, int]:
        """(epoch, end offset, exclusive) of the largest epoch <= `requested_epoch`; (-1, -1) if undefined.

        The log's end for the latest epoch. For one older than all that is known: itself, ending where the
        first known one begins.
        """
        assert log_end_offset >= 0
        entries = self._entries
        if requested_epoch == UNDEFINED_EPOCH or not entries or requested_epoch > entries[-1].epoch:
            return UNDEFINED_EPOCH, UNDEFINED_EPOCH_OFFSET
        if requested_epoch == entries[-1].epoch:
            return requested_epoch, log_end_offset
        higher = bisect_right(entries, requested_epoch, key=_epoch)
        if higher == 0:
            return requested_epoch, entries[0].start_offset
        return entries[higher - 1].epoch, entries[higher].start_offset

    def epoch_for_offset(self, offset: int) -> int:
        """The epoch of the record at `offset`; -1 if it is older than all that is known."""
        later = bisect_right(self._entries, offset, key=_start_offset)
        return self._entries[later - 1].epoch if later else UNDEFINED_EPOCH

    def truncate_from_end(self, end_offset: int) -> bool:
        """Drop epochs that begin at or after `end_offset`; True if any did."""
        keep = len(self._entries)
        while keep and self._entries[keep - 1].start_offset >= end_offset:
            keep -= 1
        changed = keep != len(self._entries)
        del self._entries[keep:]
        return changed

    def truncate_from_start(self, start_offset: int) -> bool:
        """Drop epochs that end before `start_offset`; the one it falls into begins there. True if changed."""
        later = bisect_right(self._entries, start_offset, key=_start_offset)
        if later == 0:
            return False
        first = EpochEntry(self._entries[later - 1].epoch, start_offset)
        changed = later > 1 or first != self._entries[0]
        self._entries[:later] = [first]
        return changed

    def encode(self) -> bytes:
        """The `leader-epoch-checkpoint` file's bytes."""
        lines = [str(_VERSION), str(len(self._entries))]
        lines += [f"{entry.epoch} {entry.start_offset}" for entry in self._entries]
        return "".join(line + "\n" for line in lines).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> "LeaderEpochs":
        """Raises CorruptCheckpoint."""
        try:
            version, count, *lines = data.decode("ascii").splitlines()
            if int(version) != _VERSION:
                raise CorruptCheckpoint(f"leader epoch checkpoint version {version} is unknown")
            if int(count) != len(lines):
                raise CorruptCheckpoint(f"{len(lines)} leader epochs where {count} were announced")
            entries = [EpochEntry(*_two_integers(line)) for line in lines]
        except CorruptCheckpoint:
            raise
        except ValueError as error:
            raise CorruptCheckpoint(f"leader epoch checkpoint: {error}") from None
        epochs = cls()
        for entry in entries:
            if entry.epoch < 0 or entry.start_offset < 0:
                raise CorruptCheckpoint(f"leader epoch {entry.epoch} at offset {entry.start_offset}")
            epochs.assign(entry.epoch, entry.start_offset)
        return epochs


def _epoch(entry: EpochEntry) -> int:
    return entry.epoch


def _start_offset(entry: EpochEntry) -> int:
    return entry.start_offset


def _two_integers(line: str) -> tuple[int, int]:
    first, second = line.split(" ")
    return int(first), int(second)
