"""The newest offset of every key, in bounded memory: a hash table of 16-byte hashes on numpy arrays.

As Kafka's offset map a slot has 24 bytes, the key's hash and an offset, whatever the length of the key: two keys
of one hash would be taken for one, which among 2^32 keys happens once in 2^64 logs. The hash is keyed with a seed
that is new for every round, so that nobody can write keys that meet. It is a chain of mixing steps over words of
eight bytes, because those can be taken for all keys of a chunk at once; hashing key by key would cost more than
all the rest of compaction.

The table is open-addressed with double hashing. Its size is a prime, so that a key's probes visit every slot.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

SLOT_BYTES: Final = 24
"""What an entry takes: two words of hash, one of offset."""

FIRST_SLOTS: Final = 1 << 16
"""Slots of a new table, which grows as it fills: most dirty parts are small."""

GROWTH: Final = 4
SEED_WORDS: Final = 4
WORD_BYTES: Final = 8

NO_OFFSET: Final = -1

_MIX: Final = tuple(
    np.uint64(word)
    for word in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)
)
_HALF: Final = np.uint64(32)
_SHIFT: Final = np.uint64(29)


def hash_keys(data: Bytes, starts: Int64s, lengths: Int64s, seed: UInt64s) -> tuple[UInt64s, UInt64s]:
    """The hashes of the keys at `starts`, two words each. Every key starts at WORD_BYTES or later in `data`."""
    first = np.full(len(starts), seed[0], np.uint64) ^ lengths.astype(np.uint64)
    second = np.full(len(starts), seed[1], np.uint64) + lengths.astype(np.uint64)
    words = np.ndarray((max(0, len(data) - WORD_BYTES + 1),), "<u8", data.data, strides=(1,))
    whole = lengths // WORD_BYTES
    for number in range(int(whole.max(initial=0))):
        active = np.flatnonzero(whole > number)
        _take(first, second, active, words[starts[active] + number * WORD_BYTES])
    rest = lengths % WORD_BYTES
    active = np.flatnonzero(rest)
    if len(active):
        # The word that ends where the key ends, without what lies before the key's last whole word.
        word = words[starts[active] + lengths[active] - WORD_BYTES]
        shift = (WORD_BYTES * (WORD_BYTES - rest[active])).astype(np.uint64)
        _take(first, second, active, word >> shift)
    first ^= second + seed[2]
    second += first * _MIX[2] ^ seed[3]
    return _mixed(first, _MIX[0], _MIX[1]), _mixed(second, _MIX[2], _MIX[3])


def _take(first: UInt64s, second: UInt64s, active: NDArray[np.intp], word: UInt64s) -> None:
    if len(active) == len(first):  # keys of one length: the usual case
        first[:] = _mixed(first ^ word, _MIX[0], _MIX[1])
        second[:] = _mixed(second + word, _MIX[2], _MIX[3])
    else:
        first[active] = _mixed(first[active] ^ word, _MIX[0], _MIX[1])
        second[active] = _mixed(second[active] + word, _MIX[2], _MIX[3])


def _mixed(value: UInt64s, one: np.uint64, two: np.uint64) -> UInt64s:
    value = (value ^ (value >> _HALF)) * one
    value = (value ^ (value >> _SHIFT)) * two
    return value ^ (value >> _HALF)


class OffsetMap:
    """Hashes of keys to their newest offset. `capacity` entries at most; `size` are in it."""

    def __init__(self, memory_bytes: int, load_factor: float, first_slots: int = FIRST_SLOTS) -> None:
        """`memory_bytes` bounds the table, of which a `load_factor` is used at most."""
        assert 0 < load_factor <= 1
        self._most_slots = max(3, memory_bytes // SLOT_BYTES)
        self._load_factor = load_factor
        self.capacity = int(_prime_at_most(self._most_slots) * load_factor)
        self.size = 0
        self._allocate(min(first_slots, self._most_slots))

    def _allocate(self, slots: int) -> None:
        self._slots = _prime_at_most(slots)
        self._first = np.zeros(self._slots, np.uint64)
        self._second = np.zeros(self._slots, np.uint64)
        self._offsets = np.full(self._slots, NO_OFFSET, np.int64)

    def put(self, first: UInt64s, second: UInt64s, offsets: Int64s) -> bool:
        """Take in keys whose `offsets` ascend, and are above those of earlier calls; False if they do not fit."""
        if self.size + len(first) > self.capacity:
            missing = self.get(first, second) == NO_OFFSET
            pairs = np.stack((first[missing], second[missing]))
            if self.size + np.unique(pairs, axis=1).shape[1] > self.capacity:
                return False
        while self.size + len(first) > self._slots * self._load_factor and self._slots < self._most_slots - 1:
            if not self._grow(self.size + len(first)):
                break
        self._insert(first, second, offsets)
        assert self.size <= self.capacity
        return True

    def _grow(self, entries: int) -> bool:
        wanted = max(self._slots * GROWTH, int(entries / self._load_factor) + 1)
        slots = min(self._most_slots, wanted)
        if _prime_at_most(slots) <= self._slots:
            return False
        used = self._offsets != NO_OFFSET
        first, second, offsets = self._first[used], self._second[used], self._offsets[used]
        self._allocate(slots)
        self.size = 0
        self._insert(first, second, offsets)
        return True

    def _insert(self, first: UInt64s, second: UInt64s, offsets: Int64s) -> None:
        slots, steps = self._probes(first, second)
        pending = np.arange(len(first))
        while len(pending):
            at = slots[pending]
            free = self._offsets[at] == NO_OFFSET
            if free.any():
                # Of keys that want one free slot the last one gets it, in all three arrays.
                claims, slot = pending[free], at[free]
                self._first[slot], self._second[slot] = first[claims], second[claims]
                self._offsets[slot] = offsets[claims]
                self.size += int(np.count_nonzero(self._offsets[slot] == offsets[claims]))
            mine = (self._first[at] == first[pending]) & (self._second[at] == second[pending])
            self._offsets[at[mine]] = offsets[pending[mine]]  # in order: the newest stays
            pending = self._next(pending[~mine], slots, steps)

    def get(self, first: UInt64s, second: UInt64s) -> Int64s:
        """The newest offset of each key; NO_OFFSET where it is not in the map."""
        found = np.full(len(first), NO_OFFSET, np.int64)
        slots, steps = self._probes(first, second)
        pending = np.arange(len(first))
        while len(pending):
            at = slots[pending]
            offsets = self._offsets[at]
            mine = (self._first[at] == first[pending]) & (self._second[at] == second[pending])
            mine &= offsets != NO_OFFSET
            found[pending[mine]] = offsets[mine]
            pending = self._next(pending[~mine & (offsets != NO_OFFSET)], slots, steps)
        return found

    def _probes(self, first: UInt64s, second: UInt64s) -> tuple[Int64s, Int64s]:
        slots = (first % np.uint64(self._slots)).astype(np.int64)
        return slots, (second % np.uint64(self._slots - 1)).astype(np.int64) + 1

    def _next(self, pending: NDArray[np.intp], slots: Int64s, steps: Int64s) -> NDArray[np.intp]:
        slots[pending] = (slots[pending] + steps[pending]) % self._slots
        return pending


def _prime_at_most(number: int) -> int:
    """The largest prime up to `number`, which is 3 at least."""
    number -= number % 2 == 0
    while any(number % divisor == 0 for divisor in range(3, int(number**0.5) + 1, 2)):
        number -= 2
    return number
