"""Which partition a record goes to: by its key as the Java client does (murmur2), or one after the other
without a key.
"""

from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 (org.apache.kafka.common.utils.Utils.murmur2), as an unsigned number."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for position in range(0, whole, 4):
        k = int.from_bytes(data[position : position + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


class Partitioner:
    """Keyed records by hash; keyless ones stay on a partition until `next_batch`, so that batches fill
    (KIP-480).
    """

    def __init__(self, partition_count: int, fixed: int | None = None) -> None:
        assert partition_count > 0
        self.partition_count = partition_count
        self.fixed = fixed
        self.sticky = 0

    def partition_for(self, key: bytes | None) -> int:
        """Return the partition of a record with this key."""
        if self.fixed is not None:
            return self.fixed
        if key is None:
            return self.sticky
        return (murmur2(key) & 0x7FFFFFFF) % self.partition_count

    def next_batch(self) -> None:
        """Move keyless records on: a batch has gone out."""
        self.sticky = (self.sticky + 1) % self.partition_count
