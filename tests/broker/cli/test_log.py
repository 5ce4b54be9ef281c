"""`floe log` on folders made by hand: what is wrong must be found, what is fine must not be called wrong."""

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli.root import floe
from protocol import records
from protocol.records import Record


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(floe, ["log", *map(str, arguments)])


def batch(base_offset: int, count: int = 3, compression: int = 0, timestamp: int = 1000) -> bytes:
    made = [Record(timestamp=timestamp + index, key=b"k", value=b"v%d" % index) for index in range(count)]
    return bytes(records.build(made, base_offset=base_offset, compression=compression, leader_epoch=0))


@pytest.fixture
def partition(tmp_path: Path) -> Path:
    """Two segments, 0-8 and 9-11, with indexes, the second preallocated."""
    folder = tmp_path / "orders-0"
    folder.mkdir()
    pieces = [batch(0), batch(3, compression=1, timestamp=2000), batch(6, timestamp=3000)]
    (folder / f"{0:020}.log").write_bytes(b"".join(pieces))
    (folder / f"{9:020}.log").write_bytes(batch(9, timestamp=4000) + bytes(5000))
    second = len(pieces[0])
    (folder / f"{0:020}.index").write_bytes(
        struct.pack(">iiii", 5, second, 8, second + len(pieces[1])) + bytes(80)
    )
    (folder / f"{0:020}.timeindex").write_bytes(struct.pack(">qi", 2002, 5) + struct.pack(">qi", 3002, 8))
    (folder / f"{9:020}.index").write_bytes(bytes(80))
    (folder / f"{9:020}.timeindex").write_bytes(bytes(120))
    return folder


def test_a_sound_partition_verifies(partition: Path) -> None:
    result = run("verify", partition.parent, "--deep")
    assert result.exit_code == 0, result.output
    header, first, second = result.output.splitlines()
    assert header.split()[:3] == ["PARTITION", "SEGMENT", "OFFSETS"]
    assert first.split()[2:5] == ["0-8", "3", "9"]
    assert second.split()[2:5] == ["9-11", "1", "3"]


def test_one_flipped_bit_is_found_with_file_position_and_offset(partition: Path) -> None:
    log = partition / f"{0:020}.log"
    data = bytearray(log.read_bytes())
    position = len(batch(0))
    data[position + 70] ^= 1
    log.write_bytes(data)
    result = run("verify", partition)
    assert result.exit_code == 1
    assert f"{log}: position {position}, offset 3: the CRC does not match" in result.output


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("0.log", batch(0) + batch(4), "starts at offset 4, 3 was due"),
        ("0.log", batch(0) + batch(2), "starts at offset 2, 3 was due"),
        ("0.log", batch(0)[:-1], "are left"),
        ("0.log", batch(0) + b"\1" * 20, "fewer than a batch header"),
        ("0.log", batch(0) + bytes(70) + b"\1", "magic 0, not 2"),
        ("0.index", struct.pack(">ii", 5, 7), "position 7, where no batch starts"),
        ("0.index", struct.pack(">iiii", 8, 0, 5, 0), "does not come after"),
        ("0.timeindex", struct.pack(">qi", 2001, 5), "timestamp 2002 lies before offset 5"),
        ("0.timeindex", struct.pack(">qi", 9000, 99), "past the segment's end"),
        ("0.txnindex", bytes(33), "cut short"),
    ],
)
def test_what_verify_finds(partition: Path, name: str, data: bytes, said: str) -> None:
    base, suffix = name.split(".")
    (partition / f"{int(base):020}.{suffix}").write_bytes(data)
    result = run("verify", partition)
    assert result.exit_code == 1
    assert said in result.output


def test_a_missing_segment_is_a_gap(partition: Path) -> None:
    (partition / f"{20:020}.log").write_bytes(batch(20))
    assert "segment starts at offset 20, 12 was due" in run("verify", partition).output
    assert run("verify", partition, "--allow-gaps").exit_code == 0


def test_verify_as_json(partition: Path) -> None:
    (partition / f"{9:020}.log").write_bytes(batch(9)[:-1])
    result = run("verify", partition, "-o", "json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [segment["records"] for segment in document["segments"]] == [9, 0]
    assert document["problems"][0]["offset"] == 9


def test_dump_prints_what_dumplogsegments_prints(partition: Path) -> None:
    lines = run("dump", partition / f"{0:020}.log", "--deep").output.splitlines()
    crc = int.from_bytes(batch(0)[17:21], "big")
    assert lines[:4] == [
        f"Dumping {partition / f'{0:020}.log'}",
        "Log starting offset: 0",
        "baseOffset: 0 lastOffset: 2 count: 3 baseSequence: -1 lastSequence: -1 producerId: -1 "
        "producerEpoch: -1 partitionLeaderEpoch: 0 isTransactional: false isControl: false "
        f"deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: 1002 size: {len(batch(0))} magic: 2 "
        f"compresscodec: none crc: {crc} isvalid: true",
        "| offset: 0 CreateTime: 1000 keySize: 1 valueSize: 2 sequence: -1 headerKeys: [] key: k payload: v0",
    ]
    assert len(lines) == 2 + 3 + 9


def test_dump_as_json_lines(partition: Path) -> None:
    lines = [json.loads(line) for line in run("dump", partition, "--deep", "-o", "json").output.splitlines()]
    assert [line["base_offset"] for line in lines] == [0, 3, 6, 9]
    assert lines[1]["compression"] == "gzip"
    assert lines[1]["records"][2] == {
        "offset": 5,
        "timestamp": 2002,
        "key": "k",
        "value": "v2",
        "headers": [],
    }


def test_dump_of_a_torn_file_prints_what_is_there_and_fails(partition: Path) -> None:
    log = partition / f"{0:020}.log"
    log.write_bytes(log.read_bytes()[:-1])
    result = run("dump", log)
    assert result.exit_code == 1
    assert "baseOffset: 3" in result.output
    assert f"{log}: position" in result.output


def test_a_control_batch_shows_its_marker(tmp_path: Path) -> None:
    marker = records.end_transaction_marker(
        False, producer_id=9, producer_epoch=1, coordinator_epoch=4, timestamp=1000
    )
    log = tmp_path / f"{0:020}.log"
    log.write_bytes(marker)
    assert "endTxnMarker: ABORT coordinatorEpoch: 4" in run("dump", log, "--deep").output


def test_a_folder_without_logs_says_what_to_name(tmp_path: Path) -> None:
    result = run("verify", tmp_path)
    assert result.exit_code == 1
    assert "Name a folder" in result.output
    assert run("verify", tmp_path / "missing").exit_code == 2
