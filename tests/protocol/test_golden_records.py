"""Against the bytes of Apache Kafka's own classes: every magic and codec, markers."""

import pytest

from protocol import compression, legacy, records
from tests.protocol.golden_records import GOLDEN, golden_records

LIMIT = 1 << 20
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("magic2-")])
def test_batches_of_format_2(name: str) -> None:
    buffer = memoryview(bytearray(GOLDEN[name]))
    append_time = name.endswith("append-time")
    [batch] = records.parse_batches(buffer)
    assert records.crc_is_valid(buffer, batch)
    assert batch.compression == CODECS[name.split("-")[1]]
    assert (batch.base_offset, batch.last_offset, batch.timestamp_type) == (5, 8, int(append_time))
    assert list(records.iterate(buffer, batch, LIMIT)) == golden_records(2, append_time)


@pytest.mark.parametrize("append_time", [False, True])
def test_uncompressed_batches_are_built_byte_for_byte(append_time: bool) -> None:
    source = golden_records(2)
    built = records.build(
        source, base_offset=5, timestamp_type=int(append_time), append_time=1_600_000_000_000
    )
    assert built.hex() == GOLDEN["magic2-none" + ("-append-time" if append_time else "")].hex()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_have_the_framing_java_writes(codec: str) -> None:
    built = records.build(golden_records(2), base_offset=5, compression=CODECS[codec])
    golden = GOLDEN[f"magic2-{codec}"]
    skip = {"gzip": 4, "snappy": 16, "lz4": 7, "zstd": 4}[codec]
    assert built[61 : 61 + skip] == golden[61 : 61 + skip]


def test_a_transactional_batch_and_its_markers() -> None:
    built = records.build(
        golden_records(2),
        base_offset=100,
        producer_id=4242,
        producer_epoch=7,
        base_sequence=2**31 - 2,
        is_transactional=True,
        leader_epoch=33,
    )
    assert built.hex() == GOLDEN["transactional"].hex()
    for commit, name in ((True, "commit"), (False, "abort")):
        marker = records.end_transaction_marker(
            commit,
            producer_id=4242,
            producer_epoch=7,
            coordinator_epoch=12,
            timestamp=1_500_000_002_000,
            base_offset=104,
            leader_epoch=33,
        )
        assert marker.hex() == GOLDEN[name].hex()


@pytest.mark.parametrize("name", [name for name in GOLDEN if name[:7] in ("magic0-", "magic1-")])
def test_message_sets(name: str) -> None:
    magic, append_time = int(name[5]), name.endswith("append-time")
    found = list(legacy.iterate_message_set(GOLDEN[name], LIMIT))
    assert found == golden_records(magic, append_time)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("append_time", [False, True])
@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4"])
def test_down_conversion_gives_what_java_writes(magic: int, append_time: bool, codec: str) -> None:
    suffix = "-append-time" if append_time else ""
    source = GOLDEN[f"magic2-{codec}{suffix}"]
    converted = legacy.down_convert(
        source,
        records.parse_batches(source),
        magic,
        first_offset=5,
        max_decompressed_bytes=LIMIT,
        max_bytes=LIMIT,
    )
    golden = GOLDEN[f"magic{magic}-{codec}{suffix if magic == 1 else ''}"]
    if codec == "none":
        assert converted.hex() == golden.hex()
        return
    [ours], [theirs] = legacy.parse_messages(converted), legacy.parse_messages(golden)
    assert ours[:5] == theirs[:5]  # offset, magic, attributes, timestamp, key
    assert ours.value is not None and theirs.value is not None
    unpack = [compression.decompress(CODECS[codec], v, LIMIT, magic == 0) for v in (ours.value, theirs.value)]
    assert unpack[0] == unpack[1]
    if codec == "lz4":
        assert ours.value[:7] == theirs.value[:7]  # the header checksum of KAFKA-3160 included
