"""Local files of a table: synced before anything refers to them.

Iceberg is safe when a file is whole before the file that names it is written. pyiceberg's own local files are only
written, not synced: after a power cut the catalog could name metadata that is not there, while the mark in it let the
log's retention delete the records. Object stores answer a PUT when it is durable.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, Final, cast

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
    from pyiceberg.io import OutputStream

IMPLEMENTATION: Final = "broker.tiering.local_files.SyncedFileIO"
"""For the catalog's property `py-io-impl`."""

_BUFFER_BYTES: Final = 1 << 20


class _SyncedStream(io.BufferedWriter):
    """Durable, name included, when `close` returns."""

    def __init__(self, path: str, made: list[str]) -> None:
        self._path = path
        self._made = made
        super().__init__(io.FileIO(path, "wb"), _BUFFER_BYTES)

    def close(self) -> None:
        if self.closed:
            return
        try:
            self.flush()
            os.fsync(self.fileno())
        finally:
            super().close()
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


class _SyncedFile(PyArrowFile):
    def create(self, overwrite: bool = False) -> OutputStream:
        if not overwrite and os.path.exists(self._path):
            raise FileExistsError(f"Cannot create file, already exists: {self.location}")
        made = _make_folders(os.path.dirname(self._path))
        return cast("OutputStream", _SyncedStream(self._path, made))


class SyncedFileIO(PyArrowFileIO):
    """pyiceberg's file access with local writes that are durable. Other schemes are as they are."""

    def new_output(self, location: str) -> PyArrowFile:
        scheme, netloc, path = self.parse_location(location, self.properties)
        filesystem: FileSystem = self.fs_by_scheme(scheme, netloc)
        made: type[Any] = _SyncedFile if scheme == "file" else PyArrowFile
        return cast(
            "PyArrowFile", made(location=location, path=path, fs=filesystem, buffer_size=_BUFFER_BYTES)
        )
