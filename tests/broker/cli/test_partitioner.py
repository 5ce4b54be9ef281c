"""Keyed records must land where the Java client puts them, or one key lives in two partitions."""

import pytest

from broker.cli.partitioner import Partitioner, murmur2

# From Kafka's UtilsTest.testMurmur2.
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", VECTORS)
def test_murmur2_is_kafkas(key: bytes) -> None:
    assert murmur2(key) == VECTORS[key] & 0xFFFFFFFF


def test_a_key_stays_and_keyless_records_move_by_batch() -> None:
    partitioner = Partitioner(3)
    assert partitioner.partition_for(b"21") == (-973932308 & 0x7FFFFFFF) % 3
    first = [partitioner.partition_for(None) for _ in range(3)]
    partitioner.next_batch()
    assert first == [0, 0, 0]
    assert partitioner.partition_for(None) == 1


def test_a_fixed_partition_wins_over_the_key() -> None:
    assert Partitioner(3, fixed=2).partition_for(b"21") == 2
