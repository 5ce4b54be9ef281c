"""Codecs: round trips, other implementations' framings, and limits that hold before memory is spent."""

import contextlib
import gzip
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from protocol import compression
from protocol.compression import Codec
from protocol.records import CorruptBatch, TooLarge

REAL = [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]


@pytest.mark.parametrize("codec", list(Codec))
@given(data=st.binary(max_size=3000) | st.binary(max_size=40).map(lambda b: b * 4000))
def test_round_trip(codec: Codec, data: bytes) -> None:
    packed = compression.compress(codec, data)
    assert compression.decompress(codec, packed, len(data)) == data
    assert compression.decompress(codec, memoryview(bytearray(packed)), len(data) + 1) == data


@pytest.mark.parametrize("codec", list(Codec))
def test_the_limit_is_exact(codec: Codec) -> None:
    packed = compression.compress(codec, b"a" * 100_000)
    assert len(compression.decompress(codec, packed, 100_000)) == 100_000
    for limit in (99_999, 1, 0):
        with pytest.raises(TooLarge):
            compression.decompress(codec, packed, limit)


@pytest.mark.parametrize("codec", REAL)
@pytest.mark.parametrize("size", [1, 100, 16_383, 16_384, 16_385, 70_000])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_limit_is_exact_for_small_batches(codec: Codec, size: int, frames: int) -> None:
    """Those that say how long they are, those that do not, and those of several frames, take ways of their own."""
    if codec == Codec.SNAPPY:
        frames = 1
    packed = compression.compress(codec, b"a" * size) * frames
    whole = frames * size
    assert compression.decompress(codec, packed, whole) == b"a" * whole
    with pytest.raises(TooLarge):
        compression.decompress(codec, packed, whole - 1)
    if codec == Codec.ZSTD:
        stream = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * size)
        assert compression.decompress(codec, stream, size) == b"a" * size
        with pytest.raises(TooLarge):
            compression.decompress(codec, stream, size - 1)


@pytest.mark.parametrize("codec", REAL)
def test_a_bomb_costs_no_memory(codec: Codec) -> None:
    bomb = compression.compress(codec, bytes(200_000_000))
    compression.decompress(codec, compression.compress(codec, b"warm"), 100)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            compression.decompress(codec, bomb, 1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000 + len(bomb)  # lz4 copies its input; no decoder gets far beyond the limit


@pytest.mark.parametrize("codec", REAL)
@given(data=st.data())
def test_mutated_bytes_raise_corrupt_batch_and_nothing_else(codec: Codec, data: st.DataObject) -> None:
    packed = bytearray(compression.compress(codec, b"some text, some text, some text" * 20))
    for _ in range(data.draw(st.integers(1, 5))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    del packed[data.draw(st.integers(0, len(packed))) :]
    with contextlib.suppress(CorruptBatch):
        assert len(compression.decompress(codec, bytes(packed), 10_000)) <= 10_000


@pytest.mark.parametrize("codec", REAL)
@pytest.mark.parametrize("garbage", [b"", b"\0", b"not compressed at all", b"\xff" * 40])
def test_garbage(codec: Codec, garbage: bytes) -> None:
    try:
        compression.decompress(codec, garbage, 1000)
    except CorruptBatch:
        return
    assert codec == Codec.SNAPPY and garbage == b"\0"  # a valid empty block


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_truncated_streams_are_corrupt(codec: Codec) -> None:
    packed = compression.compress(codec, bytes(range(256)) * 100)
    for cut in (1, 5, len(packed) // 2):
        with pytest.raises(CorruptBatch):
            compression.decompress(codec, packed[:-cut], 100_000)


def test_unknown_codecs() -> None:
    for codec in (5, 6, 7):
        with pytest.raises(CorruptBatch):
            compression.decompress(codec, b"", 10)
        with pytest.raises(ValueError, match="unknown"):
            compression.compress(codec, b"")


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_levels_are_taken(codec: Codec) -> None:
    data = b"".join(b"%d," % (i * i) for i in range(5000))
    strong = 19 if codec == Codec.ZSTD else 9
    best, worst = (compression.compress(codec, data, level) for level in (strong, 1))
    assert len(best) < len(worst)
    assert compression.decompress(codec, best, len(data)) == data


def test_zstd_frames_of_a_stream_with_checksums_and_skippable_ones() -> None:
    import zstandard

    stream = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    framed = stream.compress(b"text" * 100_000) + stream.flush()  # no content size, several blocks
    skippable = (0x184D2A51).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    assert compression.decompress(Codec.ZSTD, framed + skippable + framed, 800_000) == b"text" * 200_000
    for cut in (1, 4, 5, 100):
        with pytest.raises(CorruptBatch):
            compression.decompress(Codec.ZSTD, framed[:-cut], 800_000)
    with pytest.raises(CorruptBatch):
        compression.decompress(Codec.ZSTD, framed + skippable[:-1], 800_000)


def test_gzip_of_the_standard_tools_in_several_members() -> None:
    assert compression.decompress(Codec.GZIP, gzip.compress(b"one") + gzip.compress(b"two"), 6) == b"onetwo"
    with pytest.raises(TooLarge):
        compression.decompress(Codec.GZIP, gzip.compress(b"one") + gzip.compress(b"two"), 5)


def test_snappy_is_read_raw_and_xerial_and_written_xerial() -> None:
    from cramjam import snappy

    raw = bytes(snappy.compress_raw(b"raw block"))
    assert compression.decompress(Codec.SNAPPY, raw, 100) == b"raw block"
    written = compression.compress(Codec.SNAPPY, b"x" * 100_000)
    assert written[:16] == b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"
    assert compression.decompress(Codec.SNAPPY, written + written, 200_000) == b"x" * 200_000


def test_a_lying_snappy_length_allocates_nothing() -> None:
    bomb = b"\xff\xff\xff\xff\x0f" + b"\0" * 10  # says 4 GiB
    with pytest.raises(TooLarge):
        compression.decompress(Codec.SNAPPY, bomb, 1000)


# XXH32's published test values: the empty string and "abc" with seed 0, and one above 16 bytes.
@pytest.mark.parametrize(
    ("data", "digest"),
    [(b"", 0x02CC5D05), (b"abc", 0x32D153FF), (b"Nobody inspects the spammish repetition", 0xE2293B2F)],
)
def test_xxh32(data: bytes, digest: int) -> None:
    assert compression.xxh32(data) == digest


def test_both_lz4_header_checksums() -> None:
    correct = compression.compress(Codec.LZ4, b"text" * 100)
    broken = compression.compress(Codec.LZ4, b"text" * 100, broken_lz4_checksum=True)
    assert correct[:6] == broken[:6] and correct[6] != broken[6] and correct[7:] == broken[7:]
    assert compression.decompress(Codec.LZ4, broken, 400, broken_lz4_checksum=True) == b"text" * 100
    assert compression.decompress(Codec.LZ4, correct, 400, broken_lz4_checksum=True) == b"text" * 100
    with pytest.raises(CorruptBatch):
        compression.decompress(Codec.LZ4, broken, 400)
