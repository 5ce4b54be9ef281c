"""Local files are durable before anything names them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from broker.tiering import data_files
from broker.tiering.local_files import FileFailed, SyncedFileIO, remove_empty_folders
from tests.broker.tiering.tables_of_tests import catalog, open_table, rows


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


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a disk that is full: what is written beyond it fails with OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 4 << 20], ids=["when it is closed", "while it is written"])
def test_a_file_that_cannot_be_written_is_gone_and_told_of(tmp_path: Path, size: int) -> None:
    io = SyncedFileIO({"warehouse": f"file://{tmp_path}"})
    said = []
    for name in ("one", "another"):
        output = io.new_output(f"file://{tmp_path}/t/{name}")
        with pytest.raises(FileFailed) as failed, files_of_at_most(10), output.create() as stream:
            stream.write(b"x" * size)
        said.append(str(failed.value))
    assert os.listdir(tmp_path / "t") == []
    expected = (
        f"writing a file in {tmp_path}/t (warehouse file://{tmp_path}) failed: [Errno 27] File too large"
    )
    assert said == [expected] * 2, "the same words for the same problem"


def test_a_half_written_parquet_file_is_gone(tmp_path: Path) -> None:
    """However Arrow passes on what it is told."""
    target = open_table(catalog(tmp_path)).target()
    long = pa.array([os.urandom(1000) for _ in range(5000)], pa.binary())
    values = rows({0: range(5000)}).drop_columns(["value"]).append_column("value", long)
    with pytest.raises(FileFailed, match="File too large"), files_of_at_most(1 << 20):
        data_files.write(target, values)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_files_that_were_written_before_one_that_fails_are_gone(tmp_path: Path) -> None:
    target = open_table(catalog(tmp_path)).target()
    with pytest.raises(FileFailed), closing(data_files.DataFiles()) as files:
        files.append(target, rows({0: range(3)}))
        files.complete()
        assert len(list(tmp_path.rglob("*.parquet"))) == 1
        with files_of_at_most(1):
            files.append(target, rows({0: range(3, 6)}))
            files.complete()
    assert list(tmp_path.rglob("*.parquet")) == []
    with closing(data_files.DataFiles()) as files:
        files.append(target, rows({0: range(3)}))
        assert len(files.finish()) == 1
    assert len(list(tmp_path.rglob("*.parquet"))) == 1, "these are the caller's"


def test_empty_folders_go_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "w" / "ns" / "t" / "data" / "hour=1").mkdir(parents=True)
    (tmp_path / "w" / "ns" / "t" / "metadata").mkdir()
    (tmp_path / "w" / "ns" / "t" / "metadata" / "of somebody").touch()
    remove_empty_folders(str(tmp_path / "w" / "ns" / "t"), str(tmp_path / "w"))
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "w",
        "w/ns",
        "w/ns/t",
        "w/ns/t/metadata",
        "w/ns/t/metadata/of somebody",
    ]
    (tmp_path / "w" / "ns" / "t" / "metadata" / "of somebody").unlink()
    remove_empty_folders(str(tmp_path / "w" / "ns" / "t"), str(tmp_path / "w"))
    assert os.listdir(tmp_path) == ["w"] and os.listdir(tmp_path / "w") == []
