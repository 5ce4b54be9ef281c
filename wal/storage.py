"""The one door to the operating system: a small port, and its implementation on files.

A `File` is a handle by path. What it opens is a `Descriptor`, opened when first needed and closed when the
last reference goes: FileStorage keeps at most `max_open_files` of them by a second-chance LRU, and a file
slice that is being sent holds its own reference, so that neither eviction nor deletion pulls the
descriptor away under it. A file with unsynced writes is not evicted, because an error of the kernel's
write-back is reported to descriptors that were open when it happened.

Threads: everything is called on the thread that owns the log, except `File.sync`, `sync_directory` and
`sync_everything`, which the flusher's thread calls.

Errors: ENOSPC and EDQUOT are DiskFull, which leaves the file usable; anything else is StorageFailed.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol

from wal.errors import DirectoryLocked, DiskFull, StorageFailed, SyncFailed

Buffer = bytes | bytearray | memoryview

# Descriptors kept open, twice as many in a burst. A broker also needs them for connections, so that half of
# RLIMIT_NOFILE is left to those.
MAX_OPEN_FILES: Final = 4096
MIN_OPEN_FILES: Final = 16

# Files looked at for eviction when one more is opened: several, so that the limit is caught up with.
EVICTION_LOOKS: Final = 64

TRUNCATING_THREADS: Final = 16
"""Files cut at once where there are many. Giving back reserved space may wait for the disk (ext4 mounted with `discard`
and without a journal: 1 to 3 ms a file, 0.07 with sixteen at once)."""

_NO_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_NO_DESCRIPTORS: Final = frozenset((errno.EMFILE, errno.ENFILE))
_FILE_MODE: Final = 0o644
_IO_MAX: Final = 1 << 30  # Linux moves at most 2 GiB - 4 KiB in one call


class OpenFile(Protocol):
    """An open descriptor: what a file slice holds while it is being sent."""

    def fileno(self) -> int: ...

    def read_at(self, position: int, length: int) -> bytes: ...


class File(Protocol):
    """A file by path, of which bytes, not records, are known. Positions are absolute."""

    path: str

    def write_at(self, data: Buffer, position: int) -> None:
        """Write all of `data`. Raises DiskFull (part of it may be written), StorageFailed."""

    def read_at(self, position: int, length: int) -> bytes:
        """At most `length` bytes from `position`; fewer only at the end of the file."""

    def size(self) -> int: ...

    def modified_ms(self) -> int:
        """When the file was last written, ms since the epoch."""

    def set_modified_ms(self, modified_ms: int) -> None:
        """Say that the file was last written then."""

    def truncate(self, size: int) -> None: ...

    def allocate(self, size: int) -> None:
        """Grow the file to `size` bytes with space reserved, reading as zeros. Raises DiskFull."""

    def sync(self) -> None:
        """Make the written bytes and the size durable. Raises SyncFailed, which is final."""

    def open_file(self) -> OpenFile: ...

    def close(self) -> None:
        """Drop the descriptor. Using the file again opens it again."""


class Storage(Protocol):
    """Folders and files. Names come and go durably only with `sync_directory` of the folder they are in."""

    def open(self, path: str, create: bool = False) -> File:
        """A handle. With `create` the file is made now if it is not there."""

    def exists(self, path: str) -> bool: ...

    def list(self, directory: str) -> list[str]:
        """Names in the folder, sorted; empty if there is no such folder."""

    def make_directory(self, path: str) -> bool:
        """False if it was there already. Its parent has to be."""

    def remove_directory(self, path: str) -> None:
        """Remove an empty folder."""

    def rename(self, source: str, target: str) -> None:
        """Within one folder; replaces `target`."""

    def unlink(self, path: str) -> None:
        """Remove a file; one that is gone already is fine."""

    def truncate_all(self, sizes: Sequence[tuple[File, int]]) -> None:
        """Truncate each file to its size, in any order, several at a time where that helps.

        Their descriptors may be closed meanwhile: what covers the new sizes is `sync_everything`, or a `sync` of each.
        """

    def sync_directory(self, path: str) -> None: ...

    def sync_everything(self) -> bool:
        """Make everything written so far durable in one call; False if this storage cannot.

        Raises SyncFailed if any write-back on the file system has failed since this storage was opened.
        """

    def free_bytes(self, path: str) -> int: ...

    def lock(self, path: str) -> None:
        """Hold `path` exclusively until the process ends or `unlock`. Raises DirectoryLocked."""

    def unlock(self, path: str) -> None: ...


def read_file(storage: Storage, path: str) -> bytes | None:
    """All of a small file; None if it is not there."""
    if not storage.exists(path):
        return None
    file = storage.open(path)
    data = file.read_at(0, file.size())
    file.close()
    return data


def _truncate(path: str, size: int) -> None:
    try:
        os.truncate(path, size)
    except OSError as error:
        _refuse(error, "truncate", path)


def _refuse(error: OSError, action: str, path: str) -> NoReturn:
    kind = DiskFull if error.errno in _NO_SPACE else StorageFailed
    raise kind(f"cannot {action} {path}: {error.strerror}") from error


class Descriptor:
    """An open file descriptor, closed with its last reference."""

    __slots__ = ("_close", "fd", "path")

    def __init__(self, path: str, flags: int) -> None:
        self._close = os.close  # still there when the interpreter shuts down
        self.fd = -1
        self.path = path
        self.fd = os.open(path, flags | os.O_CLOEXEC, _FILE_MODE)

    def __del__(self) -> None:
        if self.fd >= 0:
            self._close(self.fd)
            self.fd = -1

    def fileno(self) -> int:
        return self.fd

    def read_at(self, position: int, length: int) -> bytes:
        try:
            data = os.pread(self.fd, length, position)
            if len(data) == length or not data:
                return data
            while len(data) < length:
                more = os.pread(self.fd, length - len(data), position + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            _refuse(error, "read", self.path)
        return data


if hasattr(os, "fdatasync"):
    _fdatasync = os.fdatasync
else:  # macOS

    def _fdatasync(fd: int, /) -> None:  # type: ignore[misc,unused-ignore]
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined,unused-ignore]


class DiskFile:
    """A file of FileStorage."""

    __slots__ = ("_descriptor", "_storage", "path", "unsynced", "used")

    def __init__(self, storage: FileStorage, path: str) -> None:
        self._storage = storage
        self._descriptor: Descriptor | None = None
        self.path = path
        self.used = True  # since the LRU last looked
        self.unsynced = False  # has writes that no sync has begun to cover: not to be evicted

    def open_file(self) -> Descriptor:
        self.used = True
        descriptor = self._descriptor
        if descriptor is None:
            descriptor = self._descriptor = self._storage.acquire(self, os.O_RDWR)
        return descriptor

    def create(self) -> None:
        assert self._descriptor is None
        self._descriptor = self._storage.acquire(self, os.O_RDWR | os.O_CREAT)

    def write_at(self, data: Buffer, position: int) -> None:
        descriptor = self._descriptor or self.open_file()
        try:
            written = os.pwrite(descriptor.fd, data, position)
            if written != len(data):
                self._write_rest(descriptor, data, position, written)
        except OSError as error:
            _refuse(error, "write", self.path)
        # After the write: a sync that begins meanwhile must not take back what marks these bytes.
        self.used = self.unsynced = True

    def _write_rest(self, descriptor: Descriptor, data: Buffer, position: int, written: int) -> None:
        # A short write is a full disk about to say so, or a signal. The next call tells which.
        with memoryview(data) as view:
            while written < len(view):
                count = os.pwrite(descriptor.fd, view[written : written + _IO_MAX], position + written)
                if count == 0:
                    raise OSError(errno.EIO, "wrote nothing")
                written += count

    def read_at(self, position: int, length: int) -> bytes:
        return (self._descriptor or self.open_file()).read_at(position, length)

    def size(self) -> int:
        try:
            return os.fstat(self.open_file().fd).st_size
        except OSError as error:
            _refuse(error, "stat", self.path)

    def modified_ms(self) -> int:
        try:
            return os.fstat(self.open_file().fd).st_mtime_ns // 1_000_000
        except OSError as error:
            _refuse(error, "stat", self.path)

    def set_modified_ms(self, modified_ms: int) -> None:
        nanoseconds = modified_ms * 1_000_000
        try:
            os.utime(self.open_file().fd, ns=(nanoseconds, nanoseconds))
        except OSError as error:
            _refuse(error, "set the time of", self.path)

    def truncate(self, size: int) -> None:
        descriptor = self.open_file()
        self.unsynced = True
        try:
            os.ftruncate(descriptor.fd, size)
        except OSError as error:
            _refuse(error, "truncate", self.path)

    def allocate(self, size: int) -> None:
        descriptor = self.open_file()
        self.unsynced = True
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor.fd, 0, size)
            else:
                os.ftruncate(descriptor.fd, max(size, self.size()))
        except OSError as error:
            _refuse(error, "allocate space for", self.path)

    def sync(self) -> None:
        # The descriptor before the flag: while `unsynced` is set the owner's thread does not evict it.
        descriptor = self._descriptor
        self.unsynced = False
        try:
            if descriptor is None:
                descriptor = Descriptor(self.path, os.O_RDWR)
            _fdatasync(descriptor.fd)
        except FileNotFoundError:
            return  # deleted after its last write: there is nothing to keep
        except OSError as error:
            raise SyncFailed(f"cannot sync {self.path}: {error.strerror}") from error

    def evict(self) -> bool:
        """Drop the descriptor if the file has not been used since the last call and loses nothing by it."""
        if self.unsynced or self.used:
            self.used = False
            return False
        self._descriptor = None
        return True

    def close(self) -> None:
        if self._descriptor is not None:
            self._descriptor = None
            self._storage.forget(self)


class FileStorage:
    """Storage on the operating system's files."""

    def __init__(self, root: str, max_open_files: int | None = None) -> None:
        """`root` is an existing folder on the file system that everything lies on."""
        limit = _open_file_limit()
        self._max_open_files = limit if max_open_files is None else min(limit, max_open_files)
        self._open: OrderedDict[DiskFile, None] = OrderedDict()
        self._locks: dict[str, Descriptor] = {}
        # syncfs reports write-back errors that happened after its descriptor was opened, so it is opened
        # first.
        self._root = Descriptor(root, os.O_RDONLY)
        self._syncfs = _find_syncfs()
        self._spare: Descriptor | None = Descriptor(root, os.O_RDONLY)
        assert self._max_open_files > 0

    @property
    def open_descriptors(self) -> int:
        return len(self._open)

    def acquire(self, file: DiskFile, flags: int) -> Descriptor:
        """Open `file`, evicting others first where there are too many."""
        if len(self._open) >= self._max_open_files:
            self._evict(len(self._open) - self._max_open_files + 1, EVICTION_LOOKS)
            if len(self._open) >= 2 * self._max_open_files:
                self._sync_and_evict()
        try:
            descriptor = Descriptor(file.path, flags)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                _refuse(error, "open", file.path)
            self._evict(max(1, len(self._open) // 2), 2 * len(self._open))
            try:
                descriptor = Descriptor(file.path, flags)
            except OSError as again:
                _refuse(again, "open", file.path)
        self._open[file] = None
        return descriptor

    def forget(self, file: DiskFile) -> None:
        self._open.pop(file, None)

    def _evict(self, count: int, looks: int) -> None:
        # Second chance: one that was used since the last look goes to the back once. What is left has unsynced
        # writes, and the limit waits for the flusher; to look at all of those for every file opened meanwhile
        # would make a burst of new files quadratic, so a few looks have to do.
        for _ in range(min(looks, 2 * len(self._open))):
            if count <= 0:
                break
            file, _none = self._open.popitem(last=False)
            if file.evict():
                count -= 1
            else:
                self._open[file] = None

    def _sync_and_evict(self) -> None:
        # So many files were written since the last sync that waiting for the flusher's would run out of
        # descriptors: sync them here, after which none of them holds anything that could be lost.
        is_all_synced = self.sync_everything()
        for file in list(self._open):
            if not is_all_synced:
                file.sync()
            file.unsynced = file.used = False
        self._evict(len(self._open) - self._max_open_files, len(self._open))

    def open(self, path: str, create: bool = False) -> DiskFile:
        file = DiskFile(self, path)
        if create:
            file.create()
        return file

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def list(self, directory: str) -> list[str]:
        try:
            return sorted(os.listdir(directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            _refuse(error, "list", directory)

    def make_directory(self, path: str) -> bool:
        try:
            os.mkdir(path)
        except FileExistsError:
            return False
        except OSError as error:
            _refuse(error, "create", path)
        return True

    def remove_directory(self, path: str) -> None:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            _refuse(error, "remove", path)

    def rename(self, source: str, target: str) -> None:
        try:
            os.replace(source, target)
        except OSError as error:
            _refuse(error, "rename", source)

    def unlink(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            _refuse(error, "delete", path)

    def truncate_all(self, sizes: Sequence[tuple[File, int]]) -> None:
        if len(sizes) < TRUNCATING_THREADS:
            for file, size in sizes:
                _truncate(file.path, size)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(TRUNCATING_THREADS) as threads:
            for _ in threads.map(lambda each: _truncate(each[0].path, each[1]), sizes):
                pass  # raises what a call raised

    def sync_directory(self, path: str) -> None:
        try:
            directory = self._open_directory(path)  # kept until it is synced
            os.fsync(directory.fd)
        except OSError as error:
            raise SyncFailed(f"cannot sync the folder {path}: {error.strerror}") from error

    def _open_directory(self, path: str) -> Descriptor:
        try:
            return Descriptor(path, os.O_RDONLY)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
        # Running out of descriptors must not look like a failed sync: this is what the spare one is for.
        self._spare = None
        directory = Descriptor(path, os.O_RDONLY)
        self._spare = directory
        return directory

    def sync_everything(self) -> bool:
        if self._syncfs is None:
            return False
        error = self._syncfs(self._root.fd)
        if error:
            raise SyncFailed(f"cannot sync the file system of {self._root.path}: {os.strerror(error)}")
        return True

    def free_bytes(self, path: str) -> int:
        try:
            status = os.statvfs(path)
        except OSError as error:
            _refuse(error, "stat", path)
        return status.f_bavail * status.f_frsize

    def lock(self, path: str) -> None:
        import fcntl

        try:
            descriptor = Descriptor(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            _refuse(error, "open", path)
        try:
            # A POSIX record lock, as Java's FileChannel.tryLock takes, so that Kafka is kept out as well.
            fcntl.lockf(descriptor.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                _refuse(error, "lock", path)
            raise DirectoryLocked(f"another process is using {os.path.dirname(path)}") from error
        self._locks[path] = descriptor

    def unlock(self, path: str) -> None:
        self._locks.pop(path, None)


def _open_file_limit() -> int:
    import resource

    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_OPEN_FILES
    return max(MIN_OPEN_FILES, min(MAX_OPEN_FILES, soft // 4))


class _Syncfs:
    """syncfs(2) by ctypes: returns an errno, 0 for success. Since Linux 5.8 it reports failed write-back."""

    def __init__(self) -> None:
        import ctypes

        self._errno = ctypes.get_errno
        self._call = ctypes.CDLL(None, use_errno=True).syncfs

    def __call__(self, fd: int) -> int:
        return 0 if self._call(fd) == 0 else (self._errno() or errno.EIO)


class _LateSyncfs:
    """Loads ctypes at the first call, on the thread that syncs: most brokers never have that many dirty
    files.
    """

    def __init__(self) -> None:
        self._syncfs: _Syncfs | None = None

    def __call__(self, fd: int) -> int:
        if self._syncfs is None:
            self._syncfs = _Syncfs()
        return self._syncfs(fd)


def _find_syncfs() -> _LateSyncfs | None:
    if sys.platform != "linux":
        return None
    release = os.uname().release.split(".")
    if not (release[0].isdigit() and release[1].isdigit()):
        return None
    return _LateSyncfs() if (int(release[0]), int(release[1])) >= (5, 8) else None
