"""Local files are durable before anything names them."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from broker.tiering.local_files import SyncedFileIO


def _syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


def test_a_file_is_synced_and_then_the_folders_that_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = _syncs(monkeypatch)
    path = tmp_path / "a" / "b" / "file"
    stream = SyncedFileIO().new_output(f"file://{path}").create()
    stream.write(b"x" * 3)
    assert synced == []
    stream.close()
    stream.close()
    assert synced[:2] == [str(path), str(path.parent)]
    assert set(synced[2:]) == {str(tmp_path), str(tmp_path / "a")}
    assert path.read_bytes() == b"xxx"


def test_a_name_is_used_once(tmp_path: Path) -> None:
    io = SyncedFileIO()
    io.new_output(f"file://{tmp_path}/f").create().close()
    with pytest.raises(FileExistsError):
        io.new_output(f"file://{tmp_path}/f").create()
    io.new_output(f"file://{tmp_path}/f").create(overwrite=True).close()


def test_parquet_is_written_through_it(tmp_path: Path) -> None:
    output = SyncedFileIO().new_output(str(tmp_path / "x.parquet"))
    with output.create() as stream:
        pq.write_table(pa.table({"a": [1, 2]}), stream)
    assert pq.read_table(tmp_path / "x.parquet")["a"].to_pylist() == [1, 2]
    assert len(output.to_input_file()) == os.path.getsize(tmp_path / "x.parquet")
