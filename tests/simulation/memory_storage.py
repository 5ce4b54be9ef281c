"""A disk in memory that forgets what was not synced: the storage port for simulations.

Every file has a written image (what reads see) and a durable one (as of its last sync), and a list of what was
done to it in between; every folder likewise has its names, the durable ones, and the operations in between.
`crash` gives the disk as it may be found afterwards: the durable image plus whatever part of the rest chance
picks. Writes are lost page by page, torn in the middle of a page, and kept out of order; so are truncations.
Names survive as a prefix of what was done to a folder, or as any subset of it.

Faults: a capacity in bytes (partial writes, then DiskFull), a sync that fails, a crash at the n-th call.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NoReturn

from wal.errors import DirectoryLocked, DiskFull, StorageFailed, SyncFailed
from wal.storage import Buffer, File

PAGE_BYTES = (64, 512, 4096)  # small ones tear small files, too


class Crashed(BaseException):
    """The machine stopped in the middle of a call. Not an Exception: nothing may catch it on the way."""


class Inode:
    """A file's content."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.durable = data
        self.pending: list[tuple[str, int, bytes]] = []  # ("write", position, data), ("resize", size, b"")
        self.modified_ms = 0

    def write(self, position: int, data: bytes) -> None:
        if position > len(self.data):
            self.data.extend(bytes(position - len(self.data)))
        self.data[position : position + len(data)] = data
        self.pending.append(("write", position, data))

    def resize(self, size: int) -> None:
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))
        self.pending.append(("resize", size, b""))

    def sync(self) -> None:
        self.durable = bytes(self.data)
        self.pending.clear()

    def after_crash(self, chance: random.Random) -> Inode:
        """What a crash leaves of it."""
        keep = chance.choice((0.0, 0.3, 0.7, 1.0))
        page_bytes = chance.choice(PAGE_BYTES)
        image = bytearray(self.durable)
        for kind, position, data in self.pending:
            if kind == "resize":
                if chance.random() < keep:
                    del image[position:]
                    image.extend(bytes(position - len(image)))
                continue
            for start, page in _pages(position, data, page_bytes):
                if chance.random() < keep:
                    if chance.random() < 0.2:
                        page = page[: chance.randrange(len(page) + 1)]
                    image.extend(bytes(max(0, start - len(image))))
                    image[start : start + len(page)] = page
        return Inode(bytes(image))


def _pages(position: int, data: bytes, page_bytes: int) -> list[tuple[int, bytes]]:
    """A write cut at page boundaries."""
    pages = []
    at = 0
    while at < len(data):
        length = min(len(data) - at, page_bytes - (position + at) % page_bytes)
        pages.append((position + at, data[at : at + length]))
        at += length
    return pages


class Directory:
    """Names, and what has become of them since the last sync."""

    def __init__(self) -> None:
        self.names: dict[str, Inode | Directory] = {}
        self.durable: dict[str, Inode | Directory] = {}
        self.pending: list[tuple[str, str, str, Inode | Directory | None]] = []

    def link(self, name: str, node: Inode | Directory) -> None:
        self.names[name] = node
        self.pending.append(("link", name, "", node))

    def unlink(self, name: str) -> None:
        del self.names[name]
        self.pending.append(("unlink", name, "", None))

    def rename(self, source: str, target: str) -> None:
        self.names[target] = self.names.pop(source)
        self.pending.append(("rename", source, target, None))

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.pending.clear()

    def after_crash(self, chance: random.Random) -> Directory:
        names = dict(self.durable)
        for kind, name, target, node in self._surviving(chance):
            if kind == "link":
                assert node is not None
                names[name] = node
            elif kind == "unlink":
                names.pop(name, None)
            elif name in names:
                names[target] = names.pop(name)
        after = Directory()
        after.names = {name: node.after_crash(chance) for name, node in names.items()}
        after.durable = dict(after.names)
        return after

    def _surviving(self, chance: random.Random) -> list[tuple[str, str, str, Inode | Directory | None]]:
        mode = chance.randrange(4)
        if mode == 0:
            return []
        if mode == 1:
            return list(self.pending)
        if mode == 2:  # as a journal keeps them
            return self.pending[: chance.randrange(len(self.pending) + 1)]
        return [operation for operation in self.pending if chance.random() < 0.5]


class OpenInode:
    """What a file slice holds: the content, whatever happens to the name."""

    def __init__(self, inode: Inode) -> None:
        self._inode = inode

    def fileno(self) -> int:
        raise OSError("a file in memory has no descriptor")

    def read_at(self, position: int, length: int) -> bytes:
        return bytes(self._inode.data[position : position + length])


class MemoryFile:
    """A handle; the same contract as wal.storage.DiskFile."""

    def __init__(self, storage: MemoryStorage, path: str) -> None:
        self._storage = storage
        self._node: Inode | None = None
        self.path = path

    def _inode(self) -> Inode:
        if self._node is None:
            found = self._storage.find(self.path)
            if not isinstance(found, Inode):
                raise StorageFailed(f"cannot open {self.path}: there is no such file")
            self._node = found
        return self._node

    def create(self) -> None:
        self._node = self._storage.create(self.path)

    def write_at(self, data: Buffer, position: int) -> None:
        inode = self._inode()
        content = bytes(data)
        inode.modified_ms = self._storage.now_ms
        self._storage.step(
            "write", self.path, lambda part: inode.write(position, content[: int(part * len(content))])
        )
        room = self._storage.room_for(position + len(content) - len(inode.data))
        if room is not None:
            fits = max(0, len(inode.data) + room - position)
            if fits:
                inode.write(position, content[: self._storage.chance.randrange(fits + 1)])
            raise DiskFull(f"cannot write {self.path}: no space left")
        inode.write(position, content)

    def read_at(self, position: int, length: int) -> bytes:
        return bytes(self._inode().data[position : position + length])

    def size(self) -> int:
        return len(self._inode().data)

    def modified_ms(self) -> int:
        return self._inode().modified_ms

    def set_modified_ms(self, modified_ms: int) -> None:
        self._inode().modified_ms = modified_ms

    def truncate(self, size: int) -> None:
        inode = self._inode()
        self._storage.step("truncate", self.path)
        inode.resize(size)

    def allocate(self, size: int) -> None:
        inode = self._inode()
        self._storage.step("allocate", self.path)
        if self._storage.room_for(size - len(inode.data)) is not None:
            raise DiskFull(f"cannot allocate space for {self.path}: no space left")
        if size > len(inode.data):
            inode.resize(size)

    def sync(self) -> None:
        if self._node is None and self._storage.find(self.path) is None:
            return
        inode = self._inode()
        self._storage.step("sync", self.path)
        inode.sync()

    def open_file(self) -> OpenInode:
        return OpenInode(self._inode())

    def close(self) -> None:
        self._node = None


class MemoryStorage:
    """The storage port in memory. Paths are absolute; the root folder exists."""

    def __init__(self, root: str, chance: random.Random | None = None) -> None:
        self.root = root
        self.chance = chance or random.Random(0)
        self.tree = Directory()
        self.capacity: int | None = None
        self.calls = 0
        self.crash_at: int | None = None
        self.fail_sync_at: int | None = None
        self.can_sync_everything = True
        self.now_ms = 0
        self.trace: list[tuple[str, str]] = []
        self._locks: set[str] = set()

    # --- faults ---

    def step(self, operation: str, path: str, partly: Callable[[float], None] | None = None) -> None:
        """One call that changes something: count it, and let the armed fault happen."""
        self.calls += 1
        self.trace.append((operation, path))
        if self.crash_at is not None and self.calls >= self.crash_at:
            if partly is not None:
                partly(self.chance.random())
            raise Crashed
        if operation.startswith("sync") and self.fail_sync_at is not None and self.calls >= self.fail_sync_at:
            raise SyncFailed(f"cannot sync {path}: input/output error")

    def room_for(self, growth: int) -> int | None:
        """None if `growth` bytes fit, otherwise how many are left."""
        if self.capacity is None or growth <= 0:
            return None
        left = self.capacity - self.used_bytes()
        return None if growth <= left else max(0, left)

    def used_bytes(self) -> int:
        def size(node: Inode | Directory) -> int:
            return len(node.data) if isinstance(node, Inode) else sum(map(size, node.names.values()))

        return size(self.tree)

    def crash(self, chance: random.Random) -> MemoryStorage:
        """The disk as it is found after the machine stopped."""
        after = self.kill(chance)
        after.tree = self.tree.after_crash(chance)
        return after

    def kill(self, chance: random.Random) -> MemoryStorage:
        """The disk as it is found after only the process ended: all that was written, still not synced."""
        after = MemoryStorage(self.root, chance)
        after.tree = self.tree
        after.capacity, after.now_ms = self.capacity, self.now_ms
        after.can_sync_everything = chance.random() < 0.5
        return after

    # --- the tree ---

    def _split(self, path: str) -> list[str]:
        assert path == self.root or path.startswith(self.root + "/"), path
        return [name for name in path[len(self.root) :].split("/") if name]

    def find(self, path: str) -> Inode | Directory | None:
        node: Inode | Directory = self.tree
        for name in self._split(path):
            if not isinstance(node, Directory) or name not in node.names:
                return None
            node = node.names[name]
        return node

    def _parent(self, path: str) -> tuple[Directory, str]:
        directory, _, name = path.rpartition("/")
        parent = self.find(directory)
        if not isinstance(parent, Directory):
            raise StorageFailed(f"cannot open {path}: there is no folder {directory}")
        return parent, name

    def _missing(self, action: str, path: str) -> NoReturn:
        raise StorageFailed(f"cannot {action} {path}: it is not there")

    def create(self, path: str) -> Inode:
        found = self.find(path)
        if isinstance(found, Inode):
            return found
        parent, name = self._parent(path)
        self.step("create", path)
        if self.room_for(1) is not None:
            raise DiskFull(f"cannot open {path}: no space left")
        inode = Inode()
        inode.modified_ms = self.now_ms
        parent.link(name, inode)
        return inode

    # --- the port ---

    def open(self, path: str, create: bool = False) -> MemoryFile:
        file = MemoryFile(self, path)
        if create:
            file.create()
        return file

    def exists(self, path: str) -> bool:
        return self.find(path) is not None

    def list(self, directory: str) -> list[str]:
        found = self.find(directory)
        return sorted(found.names) if isinstance(found, Directory) else []

    def make_directory(self, path: str) -> bool:
        if self.find(path) is not None:
            return False
        parent, name = self._parent(path)
        self.step("make_directory", path)
        if self.room_for(1) is not None:
            raise DiskFull(f"cannot create {path}: no space left")
        parent.link(name, Directory())
        return True

    def remove_directory(self, path: str) -> None:
        found = self.find(path)
        if found is None:
            return
        if not isinstance(found, Directory) or found.names:
            raise StorageFailed(f"cannot remove {path}: it is not an empty folder")
        parent, name = self._parent(path)
        self.step("remove_directory", path)
        parent.unlink(name)

    def rename(self, source: str, target: str) -> None:
        if self.find(source) is None:
            self._missing("rename", source)
        parent, name = self._parent(source)
        directory, _, new_name = target.rpartition("/")
        assert self.find(directory) is parent, "a rename stays within one folder"
        self.step("rename", source)
        parent.rename(name, new_name)

    def unlink(self, path: str) -> None:
        if self.find(path) is None:
            return
        parent, name = self._parent(path)
        self.step("unlink", path)
        parent.unlink(name)

    def truncate_all(self, sizes: Sequence[tuple[File, int]]) -> None:
        for file, size in self.chance.sample(sizes, len(sizes)):
            self.open(file.path).truncate(size)

    def sync_directory(self, path: str) -> None:
        found = self.find(path)
        if not isinstance(found, Directory):
            raise SyncFailed(f"cannot sync the folder {path}: it is not there")
        self.step("sync_directory", path)
        found.sync()

    def sync_everything(self) -> bool:
        if not self.can_sync_everything:
            return False
        self.step("sync_everything", self.root)

        def sync(node: Inode | Directory) -> None:
            node.sync()
            if isinstance(node, Directory):
                for child in node.names.values():
                    sync(child)

        sync(self.tree)
        return True

    def free_bytes(self, path: str) -> int:
        return 1 << 40 if self.capacity is None else max(0, self.capacity - self.used_bytes())

    def lock(self, path: str) -> None:
        if path in self._locks:
            raise DirectoryLocked(f"another process is using {path.rpartition('/')[0]}")
        self._locks.add(path)

    def unlock(self, path: str) -> None:
        self._locks.discard(path)
