"""Files of a table: told of where they fail; the local ones synced before anything refers to them.

Iceberg is safe when a file is whole before the file that names it is written. pyiceberg's own local files are only
written, not synced: after a power cut the catalog could name metadata that is not there, while the mark in it let the
log's retention delete the records. Object stores answer a PUT when it is durable.

A local file that cannot be written to its end is deleted at once: nothing can refer to it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, cast

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from pyarrow.fs import FileInfo, FileSystem
    from pyiceberg.io import InputStream, OutputStream

IMPLEMENTATION: Final = "broker.tiering.local_files.SyncedFileIO"
"""For the catalog's property `py-io-impl`."""

_BUFFER_BYTES: Final = 1 << 20


_REFUSALS: Final = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "INVALID_CLIENT_TOKEN_ID",
)
"""AWS's words, as Arrow tells them, for keys that are wrong or may not do that."""


class FileFailed(OSError):
    """A table's file could not be read or written. `str()` says where and why, in the same words each time."""


@contextmanager
def told(location: str, doing: str, warehouse: str = "") -> Iterator[None]:
    """Raises FileFailed for an OSError, unless that says whether the file is there.

    The file's name is left out, as a new attempt has another: who tells of each problem once could not else.
    """
    try:
        yield
    except (FileFailed, FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        folder, _, name = location.rpartition("/")
        where = f"{folder} (warehouse {warehouse})" if warehouse else folder
        reason = str(error).replace(name, "…").rstrip(". ")
        hint = ""
        if location.startswith("s3") and any(word in reason for word in _REFUSALS):
            hint = " (floe.table.catalog.s3.access-key-id and s3.secret-access-key, and what that key may do)"
        raise FileFailed(f"{doing} a file in {where} failed: {reason}{hint}") from error


class _SyncedStream(io.BufferedWriter):
    """Durable, name included, when `close` returns; gone when it does not."""

    def __init__(self, path: str, made: list[str], warehouse: str = "") -> None:
        self._path = path
        self._made = made
        self._warehouse = warehouse
        self._is_whole = True
        super().__init__(io.FileIO(path, "wb"), _BUFFER_BYTES)

    def write(self, data: ReadableBuffer) -> int:
        try:
            with told(self._path, "writing", self._warehouse):
                return super().write(data)
        except OSError:
            self._is_whole = False
            raise

    def close(self) -> None:
        if self.closed:
            return
        try:
            with told(self._path, "writing", self._warehouse):
                self.flush()
                os.fsync(self.fileno())
        except OSError:
            self._is_whole = False
            raise
        finally:
            with suppress(OSError) if not self._is_whole else told(self._path, "writing", self._warehouse):
                super().close()
            if not self._is_whole:
                with suppress(OSError):
                    os.unlink(self._path)
        for folder in [os.path.dirname(self._path), *self._made]:
            _sync_folder(folder)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(path: str) -> list[str]:
    """The folders whose entries changed, nearest last."""
    missing: list[str] = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.makedirs(folder, exist_ok=True)
    return [os.path.dirname(folder) for folder in missing]


def remove_empty_folders(folder: str, top: str) -> None:
    """The folder's empty folders, then it and those above it below `top`, as far as they are empty."""
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)
    while os.path.dirname(folder).startswith(f"{top}/"):
        folder = os.path.dirname(folder)
        with suppress(OSError):
            os.rmdir(folder)


class _TableFile(PyArrowFile):
    warehouse = ""

    def _file_info(self) -> FileInfo:
        with told(self.location, "looking for", self.warehouse):
            return super()._file_info()

    def open(self, seekable: bool = True) -> InputStream:
        with told(self.location, "reading", self.warehouse):
            return super().open(seekable)

    def create(self, overwrite: bool = False) -> OutputStream:
        with told(self.location, "writing", self.warehouse):
            return super().create(overwrite)


class _SyncedFile(_TableFile):
    def create(self, overwrite: bool = False) -> OutputStream:
        if not overwrite and os.path.exists(self._path):
            raise FileExistsError(f"Cannot create file, already exists: {self.location}")
        with told(self.location, "writing", self.warehouse):
            made = _make_folders(os.path.dirname(self._path))
            return cast("OutputStream", _SyncedStream(self._path, made, self.warehouse))


class SyncedFileIO(PyArrowFileIO):
    """pyiceberg's file access with local writes that are durable. What fails is told by FileFailed."""

    def new_output(self, location: str) -> PyArrowFile:
        scheme = self.parse_location(location, self.properties)[0]
        return self._file(location, _SyncedFile if scheme == "file" else _TableFile, _BUFFER_BYTES)

    def new_input(self, location: str) -> PyArrowFile:
        return self._file(location, _TableFile, int(self.properties.get("buffer-size", _BUFFER_BYTES)))

    def _file(self, location: str, kind: type[_TableFile], buffer_size: int) -> PyArrowFile:
        scheme, netloc, path = self.parse_location(location, self.properties)
        filesystem: FileSystem = self.fs_by_scheme(scheme, netloc)
        made = kind(location=location, path=path, fs=filesystem, buffer_size=buffer_size)
        made.warehouse = self.properties.get("warehouse", "")
        return made
