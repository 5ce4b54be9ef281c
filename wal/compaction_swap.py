"""Putting a cleaned segment in the place of its originals, so that a crash at any point leaves a whole log.

    0  the recovery point is saved above the originals: recovery takes gaps for compaction only below it
    1  `<base>.log.cleaned` and its indexes are renamed to `.swap`; the folder is synced
    2  the originals are renamed to `.deleted`; the folder is synced
    3  the `.swap` files are renamed to what they are; the folder is synced

A start that finds `.cleaned` files removes them, and `.swap` files of the same segments with them: step 1 was not over,
and the originals are untouched. `.swap` files alone are finished: what is left of the originals goes, then step 3.
Without the sync before step 3 a crash could leave the cleaned segment beside originals whose renaming was lost.
Suffixes, order and rules are Kafka's (LocalLog.replaceSegments, LogLoader), so that either finishes the other's swap.

In memory the originals are exchanged in the same breath. A reader that holds a slice of one keeps its descriptor, and
the files stay for file.delete.delay.ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from protocol.records import CorruptBatch
from wal.errors import DiskFull, StorageFailed
from wal.layout import (
    BASE_OFFSET_DIGITS,
    CLEANED_SUFFIX,
    DELETED_SUFFIX,
    LOG_SUFFIX,
    SEGMENT_SUFFIXES,
    SNAPSHOT_SUFFIX,
    SWAP_SUFFIX,
    parse_base_offset,
    segment_path,
)
from wal.segment import Segment
from wal.storage import Storage

if TYPE_CHECKING:
    from wal.log import Log


def swap(log: Log, replaced: Sequence[int], now_ms: int) -> bool:
    """Replace the segments with base offsets `replaced` by the cleaned one; False if they are no longer there.

    Costs a few renames and three syncs of the folder. Raises DiskFull (nothing has changed), StorageFailed: a folder
    that has no room for a name in mid-swap, too, is for the next start to finish.
    """
    directory, storage = log.directory, log.storage
    index = log.sealed_index(replaced)
    cleaned = _present(storage, directory, replaced[0], CLEANED_SUFFIX)
    if index is None or f"{replaced[0]:0{BASE_OFFSET_DIGITS}d}{LOG_SUFFIX}" not in cleaned:
        discard(storage, directory, replaced[0])
        return False
    if log.save_recovery_point is not None:
        try:
            log.save_recovery_point(log.bases[index + len(replaced)])
        except DiskFull:
            discard(storage, directory, replaced[0])
            raise
    try:
        _exchange(log, index, replaced, cleaned, now_ms)
    except DiskFull as full:
        raise StorageFailed(
            f"{directory}: the exchange of a compacted segment stopped halfway: {full}"
        ) from full
    return True


def _exchange(log: Log, index: int, replaced: Sequence[int], cleaned: Sequence[str], now_ms: int) -> None:
    """Steps 1 to 3. Where they end early, files and memory are no longer of one mind."""
    directory, storage = log.directory, log.storage
    for name in cleaned:
        storage.rename(f"{directory}/{name}{CLEANED_SUFFIX}", f"{directory}/{name}{SWAP_SUFFIX}")
    storage.sync_directory(directory)
    segment = Segment(storage, directory, replaced[0])
    originals = log.replace_segments(index, len(replaced), segment)
    due_ms = now_ms + log.config.file_delete_delay_ms
    for original in originals:
        is_merged = original.base_offset != segment.base_offset
        # The snapshot at the base offset is as right as before.
        also = (SNAPSHOT_SUFFIX,) if is_merged else ()
        for name in _present(storage, directory, original.base_offset, "", (*SEGMENT_SUFFIXES, *also)):
            path = f"{directory}/{name}"
            storage.rename(path, path + DELETED_SUFFIX)
            log.pending_deletions.append((due_ms, path + DELETED_SUFFIX))
    storage.sync_directory(directory)
    for name in cleaned:
        storage.rename(f"{directory}/{name}{SWAP_SUFFIX}", f"{directory}/{name}")
    storage.sync_directory(directory)


def discard(storage: Storage, directory: str, base_offset: int) -> None:
    """Remove a cleaned segment that nobody wants."""
    for name in _present(storage, directory, base_offset, CLEANED_SUFFIX):
        storage.unlink(f"{directory}/{name}{CLEANED_SUFFIX}")


def _present(
    storage: Storage, directory: str, base_offset: int, state: str, suffixes: Iterable[str] = SEGMENT_SUFFIXES
) -> list[str]:
    """The names, without `state` at their end, of a segment's files that are there; the log comes last."""
    paths = (segment_path(directory, base_offset, suffix) for suffix in suffixes)
    found = [path.rpartition("/")[2] for path in paths if storage.exists(path + state)]
    return sorted(found, key=lambda name: name.endswith(LOG_SUFFIX))


def finish_swaps(storage: Storage, directory: str, names: Sequence[str]) -> bool:
    """After a crash: undo or finish what a swap had begun; whether there was anything of the kind."""
    cleaned = [name for name in names if name.endswith(CLEANED_SUFFIX)]
    swapped = [name for name in names if name.endswith(SWAP_SUFFIX)]
    if not cleaned and not swapped:
        return False
    undone = {name[:BASE_OFFSET_DIGITS] for name in cleaned}
    for name in swapped:
        if name[:BASE_OFFSET_DIGITS] in undone:
            storage.unlink(f"{directory}/{name}")
    # A swap file that goes after its cleaned one would count as finished: the order has to last.
    if undone:
        storage.sync_directory(directory)
    for name in cleaned:
        storage.unlink(f"{directory}/{name}")
    finished = [name for name in swapped if name[:BASE_OFFSET_DIGITS] not in undone]
    if finished:
        _finish(storage, directory, names, finished)
    return True


def _finish(storage: Storage, directory: str, names: Sequence[str], swapped: Sequence[str]) -> None:
    for name in swapped:
        base_offset = parse_base_offset(name, LOG_SUFFIX + SWAP_SUFFIX)
        if base_offset is not None:
            end_offset = _end_offset(storage, directory, base_offset)
            for original in names:
                if _is_replaced(original, base_offset, end_offset):
                    storage.unlink(f"{directory}/{original}")
    # What is left of the originals must be gone for good before the new segment stands among the segments.
    storage.sync_directory(directory)
    for name in sorted(swapped, key=lambda name: name.endswith(LOG_SUFFIX + SWAP_SUFFIX)):
        storage.rename(f"{directory}/{name}", f"{directory}/{name.removesuffix(SWAP_SUFFIX)}")
    storage.sync_directory(directory)


def _is_replaced(name: str, base_offset: int, end_offset: int) -> bool:
    for suffix in (*SEGMENT_SUFFIXES, SNAPSHOT_SUFFIX):
        found = parse_base_offset(name, suffix)
        if found is not None and base_offset <= found < end_offset:
            return found != base_offset or suffix != SNAPSHOT_SUFFIX
    return False


def _end_offset(storage: Storage, directory: str, base_offset: int) -> int:
    """Where the replaced segments end: the last batch of a cleaned segment is that of the last original."""
    segment = Segment(storage, directory, base_offset, SWAP_SUFFIX)
    end_offset = base_offset + 1
    try:
        for batch in segment.scan(0, segment.file.size()):
            end_offset = batch.next_offset
    except CorruptBatch:
        pass  # it was synced before it was named so; whatever it is, recovery reports what follows
    segment.close()
    return end_offset
