"""The map of keys to offsets against a dict, however small its memory."""

from __future__ import annotations

import random

import numpy as np
import pytest

from wal.compaction_map import NO_OFFSET, SLOT_BYTES, OffsetMap, hash_keys

SEED = np.array([1, 2, 3, 4], np.uint64)


def hashes(keys: list[bytes]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    data = np.frombuffer(bytes(8) + b"".join(keys), np.uint8)
    lengths = np.array([len(key) for key in keys], np.int64)
    return hash_keys(data, 8 + np.cumsum(lengths) - lengths, lengths, SEED)


@pytest.mark.parametrize("first_slots", [3, 100, 1 << 16])
def test_it_holds_what_a_dict_would(first_slots: int) -> None:
    chance = random.Random(1)
    found = OffsetMap(24 * 50_000, 0.9, first_slots)
    expected: dict[bytes, int] = {}
    offset = 0
    for size in (1, 1, 500, 7000, 3, 20_000):
        keys = [b"%d" % chance.randrange(9000) * chance.choice((1, 1, 5)) for _ in range(size)]
        assert found.put(*hashes(keys), np.arange(offset, offset + size))
        expected.update(zip(keys, range(offset, offset + size), strict=True))
        offset += size
    assert found.size == len(expected)
    assert found.get(*hashes(list(expected))).tolist() == list(expected.values())
    assert (found.get(*hashes([b"none", b"", b"nor this"])) == NO_OFFSET).all()


def test_it_refuses_what_does_not_fit_and_stays_as_it_is() -> None:
    found = OffsetMap(SLOT_BYTES * 100, 0.9)
    assert found.capacity == 87  # 97 slots, the largest prime
    keys = [b"%d" % number for number in range(80)]
    assert found.put(*hashes(keys), np.arange(80))
    assert not found.put(*hashes([b"x%d" % number for number in range(8)]), np.arange(80, 88))
    assert found.size == 80
    assert found.put(*hashes(keys), np.arange(80, 160)), "known keys take no room"
    assert found.put(*hashes([b"x%d" % number for number in range(7)] * 3), np.arange(160, 181))
    assert found.get(*hashes([b"0", b"x6"])).tolist() == [80, 180]


def test_every_byte_and_the_length_count() -> None:
    keys = [
        b"",
        b"\0",
        b"\0\0",
        b"\0" * 8,
        b"\0" * 9,
        b"abcdefgh",
        b"abcdefgi",
        b"bbcdefgh",
        b"abcdefgha",
        b"abcdefghb",
    ]
    keys += [b"x" * length for length in range(2, 300)]
    keys += [bytes(length) + b"y" for length in range(300)]
    first, second = hashes(keys)
    assert len(set(first.tolist())) == len(keys) == len(set(second.tolist()))


def test_the_seed_decides() -> None:
    data = np.frombuffer(bytes(8) + b"key", np.uint8)
    one = hash_keys(data, np.array([8]), np.array([3]), SEED)
    other = hash_keys(data, np.array([8]), np.array([3]), SEED + np.uint64(1))
    assert one[0] != other[0] and one[1] != other[1]
