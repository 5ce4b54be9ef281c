"""Small state files: written whole, and the text format of Kafka's offset checkpoints.

`recovery-point-offset-checkpoint` and `log-start-offset-checkpoint` lie in the data folder:

    0                   version
    2                   entries
    orders 0 4711       topic, partition, offset
    orders 1 23

A small file is never changed in place: `replace_file` writes `<name>.tmp`, syncs it, renames it over the old
one and syncs the folder, so that after a crash either the old or the new content is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, NoReturn

from wal.errors import CorruptCheckpoint, DiskFull
from wal.storage import File, Storage, read_file

VERSION: Final = 0
TEMPORARY_SUFFIX: Final = ".tmp"


class TopicPartition(NamedTuple):
    topic: str
    partition: int


def replace_file(storage: Storage, directory: str, name: str, data: bytes) -> None:
    """Replace a small file durably. Raises DiskFull (the old content stays), StorageFailed."""
    target = f"{directory}/{name}"
    temporary = target + TEMPORARY_SUFFIX
    file = write_file(storage, temporary, data)
    file.sync()
    file.close()
    storage.rename(temporary, target)
    storage.sync_directory(directory)


def put_file(storage: Storage, directory: str, name: str, data: bytes) -> File:
    """Have `name` hold `data`; the file to be synced, which may wait. Raises DiskFull, StorageFailed.

    Content that may be durable already is never endangered: it is left alone or replaced durably.
    """
    path = f"{directory}/{name}"
    known = read_file(storage, path)
    if known is None:
        return write_file(storage, path, data)
    if known != data:
        replace_file(storage, directory, name, data)
    return storage.open(path)


def write_file(storage: Storage, path: str, data: bytes) -> File:
    """Write a small file whole, unsynced. A refused write leaves no part of it behind."""
    file = storage.open(path, create=True)
    try:
        file.truncate(0)
        file.write_at(data, 0)
    except DiskFull:
        file.close()
        storage.unlink(path)
        raise
    return file


def parse_entries(name: str, data: bytes, columns: int) -> list[list[str]]:
    """The entries of a checkpoint file, split into `columns` words. An empty file has none, as in Kafka."""
    lines = data.decode("utf-8", "replace").splitlines()
    if not lines:
        return []
    if lines[0] != str(VERSION):
        _corrupt(name, 1, f"version {lines[0]!r}, not {VERSION}")
    if len(lines) < 2 or not lines[1].isascii() or not lines[1].isdigit():
        _corrupt(name, 2, "no number of entries")
    count = int(lines[1])
    if len(lines) - 2 != count:
        _corrupt(name, 2, f"{len(lines) - 2} entries, not {count}")
    entries = [line.split(" ") for line in lines[2:]]
    for number, words in enumerate(entries, 3):
        if len(words) != columns:
            _corrupt(name, number, f"{len(words)} words, not {columns}")
    return entries


def _corrupt(name: str, line: int, found: str) -> NoReturn:
    raise CorruptCheckpoint(f"{name}, line {line}: {found}")


def format_entries(entries: Iterable[str]) -> bytes:
    lines = list(entries)
    return "\n".join([str(VERSION), str(len(lines)), *lines, ""]).encode()


def parse_offsets(name: str, data: bytes) -> dict[TopicPartition, int]:
    """Offsets by partition. Raises CorruptCheckpoint."""
    offsets: dict[TopicPartition, int] = {}
    for number, (topic, partition, offset) in enumerate(parse_entries(name, data, 3), 3):
        try:
            offsets[TopicPartition(topic, int(partition))] = int(offset)
        except ValueError:
            _corrupt(name, number, f"{partition!r} and {offset!r} are not numbers")
    return offsets


def format_offsets(offsets: Mapping[TopicPartition, int]) -> bytes:
    return format_entries(f"{topic} {partition} {offset}" for (topic, partition), offset in offsets.items())


def read_offsets(storage: Storage, directory: str, name: str) -> dict[TopicPartition, int]:
    """The checkpoint `name` of a data folder; empty if it was never written. Raises CorruptCheckpoint."""
    data = read_file(storage, f"{directory}/{name}")
    return {} if data is None else parse_offsets(name, data)
