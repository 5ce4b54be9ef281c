"""The codecs a record batch may be compressed with, each with a limit on what comes out.

A few bytes of a client can decompress to gigabytes, so every decoder here stops at the caller's limit before
it allocates more: TooLarge is raised while at most one chunk above the limit has been produced. The libraries
are imported when a codec is first used; a broker that never looks inside a batch never loads them.

Framings, as Java's clients write them:
  gzip    RFC 1952
  snappy  xerial's stream: magic, version, compatible version, then chunks of `length, raw snappy`. Old
          librdkafka and others send one raw snappy block, which is accepted as well.
  lz4     the LZ4 frame format. Before message format 2 Java's clients computed the header checksum over the
          magic too (KAFKA-3160); with magic 0 that is what is written and what old readers insist on.
  zstd    RFC 8878 (KIP-110)
"""

import zlib
from contextlib import suppress
from enum import IntEnum
from typing import Any, Final

from protocol.batch import Buffer, CorruptBatch, TooLarge


class Codec(IntEnum):
    """CompressionType's ids: the low three bits of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


READER_LIMIT_BYTES: Final = 256 << 20
"""What a batch may decompress to for whoever reads it as a consumer does: the command line, and tables. What the broker
itself looks inside has a limit of its own, as many do so at once."""

CHUNK_BYTES: Final = 1 << 18  # what a decoder may produce between two looks at the limit


def compress(codec: int, data: Buffer, level: int | None = None, broken_lz4_checksum: bool = False) -> bytes:
    """`data` in the codec's framing as Java writes it; `level` as Kafka's compression.<codec>.level."""
    if codec == Codec.NONE:
        return bytes(data)
    if codec == Codec.GZIP:
        return _gzip_compress(data, level)
    if codec == Codec.SNAPPY:
        return _snappy_compress(data)
    if codec == Codec.LZ4:
        return _lz4_compress(data, level, broken_lz4_checksum)
    if codec == Codec.ZSTD:
        return _zstd_compress(data, level)
    raise ValueError(f"unknown compression codec {codec}")


def decompress(codec: int, data: Buffer, limit: int, broken_lz4_checksum: bool = False) -> bytes:
    """What `data` decompresses to, at most `limit` bytes.

    Raises TooLarge above the limit and CorruptBatch for anything that is not the codec's format, an unknown
    codec included. `broken_lz4_checksum` also admits the header checksum of KAFKA-3160.
    """
    if codec == Codec.NONE:
        if len(data) > limit:
            raise _too_large(limit)
        return bytes(data)
    if codec == Codec.GZIP:
        return _gzip_decompress(data, limit)
    if codec == Codec.SNAPPY:
        return _snappy_decompress(memoryview(data), limit)
    if codec == Codec.LZ4:
        return _lz4_decompress(memoryview(data), limit, broken_lz4_checksum)
    if codec == Codec.ZSTD:
        return _zstd_decompress(data, limit)
    raise CorruptBatch(f"unknown compression codec {codec}")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the records decompress to more than the limit of {limit} bytes")


# --- gzip ---

_GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS


def _gzip_compress(data: Buffer, level: int | None) -> bytes:
    compressor = zlib.compressobj(
        zlib.Z_DEFAULT_COMPRESSION if level is None else level, zlib.DEFLATED, _GZIP_WINDOW_BITS
    )
    return compressor.compress(data) + compressor.flush()


def _gzip_decompress(data: Buffer, limit: int) -> bytes:
    rest: Any = data
    parts: list[bytes] = []
    left = limit
    while True:  # RFC 1952: a gzip file is a sequence of members
        member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        try:
            part = member.decompress(rest, left + 1)
        except zlib.error as error:
            raise CorruptBatch(f"gzip: {error}") from None
        if len(part) > left:
            raise _too_large(limit)
        if not member.eof:
            raise CorruptBatch("gzip: the data ends early")
        parts.append(part)
        left -= len(part)
        rest = member.unused_data
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)


# --- snappy ---

_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = _XERIAL_MAGIC + (1).to_bytes(4, "big") + (1).to_bytes(4, "big")
_XERIAL_BLOCK_BYTES: Final = 32 * 1024  # SnappyOutputStream's default; readers accept any


def _snappy_compress(data: Buffer) -> bytes:
    from cramjam import snappy

    view = memoryview(data)
    out = bytearray(_XERIAL_HEADER)
    for start in range(0, len(view), _XERIAL_BLOCK_BYTES):
        block = bytes(snappy.compress_raw(view[start : start + _XERIAL_BLOCK_BYTES]))
        out += len(block).to_bytes(4, "big")
        out += block
    return bytes(out)


def _snappy_decompress(view: memoryview, limit: int) -> bytes:
    if bytes(view[:8]) != _XERIAL_MAGIC:
        return _snappy_block(view, limit, limit)
    out = bytearray()
    position, end = len(_XERIAL_HEADER), len(view)
    if end < position:
        raise CorruptBatch("snappy: the xerial header is cut short")
    while position < end:
        if bytes(view[position : position + 8]) == _XERIAL_MAGIC:  # streams may be concatenated
            position += len(_XERIAL_HEADER)
            continue
        length = int.from_bytes(view[position : position + 4], "big")
        position += 4
        if length > end - position:
            raise CorruptBatch(f"snappy: a chunk of {length} bytes at {position} of {end}")
        out += _snappy_block(view[position : position + length], limit - len(out), limit)
        position += length
    return bytes(out)


def _snappy_block(block: memoryview, left: int, limit: int) -> bytes:
    from cramjam import DecompressionError, snappy

    try:
        # The length is the block's own first field: known before anything is allocated.
        if snappy.decompress_raw_len(block) > left:
            raise _too_large(limit)
        return bytes(snappy.decompress_raw(block))
    except DecompressionError as error:
        raise CorruptBatch(f"snappy: {error}") from None


# --- lz4 ---

_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_LZ4_CONTENT_SIZE_FLAG: Final = 0x08
_LZ4_DICTIONARY_FLAG: Final = 0x01


def _lz4_compress(data: Buffer, level: int | None, broken_checksum: bool) -> bytes:
    from lz4 import frame

    # As Java's Lz4BlockOutputStream: 64 KiB independent blocks, no checksums, no content size.
    out: bytes = frame.compress(
        bytes(data),
        compression_level=0 if level is None else level,
        block_size=frame.BLOCKSIZE_MAX64KB,
        block_linked=False,
        store_size=False,
    )
    return _with_lz4_checksum(out, broken=True) if broken_checksum else out


_LZ4_MAX_RATIO: Final = 255


def _lz4_decompress(view: memoryview, limit: int, broken_checksum: bool) -> bytes:
    from lz4 import frame

    rest = bytes(view)
    if not rest:
        raise CorruptBatch("lz4: no data")
    if broken_checksum:
        rest = _with_lz4_checksum(rest, broken=False)
    parts: list[bytes] = []
    left = limit
    while rest:
        decompressor = frame.LZ4FrameDecompressor()
        try:
            # The library allocates what it may produce; a byte of LZ4 is 255 at most.
            most = min(left + 1, _LZ4_MAX_RATIO * len(rest) + _LZ4_MAX_RATIO)
            part = decompressor.decompress(rest, max_length=most)
        except RuntimeError as error:
            raise CorruptBatch(f"lz4: {error}") from None
        if len(part) > left:
            raise _too_large(limit)
        if not decompressor.eof:
            raise CorruptBatch("lz4: the data ends early")
        parts.append(part)
        left -= len(part)
        rest = decompressor.unused_data or b""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _with_lz4_checksum(data: bytes, broken: bool) -> bytes:
    """The frame with its header checksum replaced: over magic and descriptor if `broken`, else descriptor."""
    if len(data) < 7 or data[:4] != _LZ4_MAGIC:
        return data  # the decoder will say what is wrong
    flags = data[4]
    end = 6 + (8 if flags & _LZ4_CONTENT_SIZE_FLAG else 0) + (4 if flags & _LZ4_DICTIONARY_FLAG else 0)
    if len(data) <= end:
        return data
    checksum = xxh32(data[0 if broken else 4 : end]) >> 8 & 0xFF
    return data[:end] + bytes([checksum]) + data[end + 1 :]


_PRIME_1: Final = 2654435761
_PRIME_2: Final = 2246822519
_PRIME_3: Final = 3266489917
_PRIME_4: Final = 668265263
_PRIME_5: Final = 374761393


def _rotate(value: int, bits: int) -> int:
    value &= 0xFFFFFFFF
    return (value << bits | value >> 32 - bits) & 0xFFFFFFFF


def xxh32(data: bytes, seed: int = 0) -> int:
    """XXH32 of a frame header: at most 19 bytes, so plain Python is enough.

    https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
    """
    position, length = 0, len(data)
    if length >= 16:
        lanes = [seed + _PRIME_1 + _PRIME_2, seed + _PRIME_2, seed, seed - _PRIME_1]
        while length - position >= 16:
            for lane in range(4):
                word = int.from_bytes(data[position : position + 4], "little")
                lanes[lane] = _rotate(lanes[lane] + word * _PRIME_2, 13) * _PRIME_1
                position += 4
        value = sum(_rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True))
    else:
        value = seed + _PRIME_5
    value += length
    while length - position >= 4:
        word = int.from_bytes(data[position : position + 4], "little")
        value = _rotate(value + word * _PRIME_3, 17) * _PRIME_4
        position += 4
    for byte in data[position:]:
        value = _rotate(value + byte * _PRIME_5, 11) * _PRIME_1
    value &= 0xFFFFFFFF
    value = (value ^ value >> 15) * _PRIME_2 & 0xFFFFFFFF
    value = (value ^ value >> 13) * _PRIME_3 & 0xFFFFFFFF
    return value ^ value >> 16


# --- zstd ---

# Java's decoder (zstd-jni) refuses windows above 2^27 as well: memory for one frame.
_ZSTD_MAX_WINDOW_BYTES: Final = 1 << 27


def _zstd_compress(data: Buffer, level: int | None) -> bytes:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=3 if level is None else level, write_content_size=True)
    return compressor.compress(data)


def _zstd_decompress(data: Buffer, limit: int) -> bytes:
    import zstandard

    frames = _whole_zstd_frames(memoryview(data))
    most = min(limit, _ZSTD_SMALL_OUTPUT_BYTES)
    if len(data) <= _ZSTD_SMALL_BYTES and _is_small_zstd(frames, most):
        with suppress(zstandard.ZstdError):  # larger than it looked, or corrupt: then what follows says so
            return _zstd_decompress_small(data, most)
    parts: list[bytes] = []
    left = limit
    try:
        # Java's stream writes no content size, so the frame is read in chunks; frames may be concatenated.
        with _new_zstd_decompressor().stream_reader(data, read_across_frames=True) as reader:
            while part := reader.read(min(CHUNK_BYTES, left + 1)):
                if len(part) > left:
                    raise _too_large(limit)
                parts.append(part)
                left -= len(part)
    except zstandard.ZstdError as error:
        raise CorruptBatch(f"zstd: {error}") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


_ZSTD_MAGIC: Final = 0xFD2FB528
_ZSTD_SKIPPABLE_MAGIC: Final = 0x184D2A50  # to ...5F
_ZSTD_RLE_BLOCK: Final = 1


_ZSTD_SMALL_BYTES: Final = 1 << 12
"""Batches of a few records: setting up a stream takes ten times as long as decompressing them at once."""

_ZSTD_SMALL_OUTPUT_BYTES: Final = 1 << 14

_idle_zstd: Final[list[Any]] = []
"""Decompressors that nobody uses now: making one takes longer than a small batch, and two threads cannot share one."""


def _zstd_decompress_small(data: Buffer, most: int) -> bytes:
    """One frame, of which `_is_small_zstd` holds. Raises ZstdError if it is corrupt or gives more than `most`."""
    try:
        decompressor = _idle_zstd.pop()
    except IndexError:
        decompressor = _new_zstd_decompressor()
    try:
        return bytes(decompressor.decompress(data, max_output_size=most))
    finally:
        _idle_zstd.append(decompressor)


def _new_zstd_decompressor() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW_BYTES)


def _is_small_zstd(frames: list[Any], most: int) -> bool:
    """Whether it is one frame and can be decompressed at once: the library allocates what a frame claims to hold."""
    import zstandard

    [parameters, *others] = frames
    if others or parameters is None:
        return False
    claimed = parameters.content_size
    is_small = claimed == zstandard.CONTENTSIZE_UNKNOWN or 0 < claimed <= most
    return bool(is_small and parameters.window_size <= _ZSTD_MAX_WINDOW_BYTES)


def _whole_zstd_frames(view: memoryview) -> list[Any]:
    """Walk the blocks of all frames: the library's reader takes the place where one is cut for its end.

    The parameters of each frame, None of one that is skipped.
    """
    frames: list[Any] = []
    position, end = 0, len(view)
    if end == 0:
        raise CorruptBatch("zstd: no data")
    while position < end:
        magic = int.from_bytes(view[position : position + 4], "little")
        if magic & 0xFFFFFFF0 == _ZSTD_SKIPPABLE_MAGIC:
            position += 8 + int.from_bytes(view[position + 4 : position + 8], "little")
            frames.append(None)
        elif magic == _ZSTD_MAGIC:
            parameters, position = _zstd_frame_end(view, position)
            frames.append(parameters)
        else:
            raise CorruptBatch(f"zstd: no frame at {position}")
    if position != end:
        raise CorruptBatch("zstd: the data ends early")
    return frames


def _zstd_frame_end(view: memoryview, position: int) -> tuple[Any, int]:
    import zstandard

    try:
        parameters = zstandard.get_frame_parameters(view[position:])
        position += zstandard.frame_header_size(view[position:])
    except zstandard.ZstdError as error:
        raise CorruptBatch(f"zstd: {error}") from None
    is_last = 0
    while not is_last:
        if position + 3 > len(view):
            raise CorruptBatch("zstd: the data ends early")
        block = int.from_bytes(view[position : position + 3], "little")
        is_last, kind, size = block & 1, block >> 1 & 3, block >> 3
        position += 3 + (1 if kind == _ZSTD_RLE_BLOCK else size)
    return parameters, position + (4 if parameters.has_checksum else 0)
