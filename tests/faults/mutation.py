"""Seeded damage to frames: flipped bits, cut tails, edited lengths, splices, other versions, broken batches."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final

from protocol.checksum import crc32c
from tests.faults.corpus import Frame

INTERESTING: Final = (
    0,
    1,
    -1,
    -2,
    127,
    128,
    255,
    256,
    32767,
    -32768,
    65535,
    2**31 - 1,
    -(2**31),
    2**24,
    2**63 - 1,
)
_FORMS: Final = ((1, ">B", 0xFF), (2, ">H", 0xFFFF), (4, ">I", 0xFFFFFFFF), (8, ">Q", 2**64 - 1))

Mutation = Callable[[random.Random, bytearray, Frame, Sequence[Frame]], None]


def _flip_bits(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    for _ in range(chance.choice((1, 1, 2, 8))):
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    del body[chance.randrange(10, len(body) + 1) :]


def _edit_number(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    size, form, mask = chance.choice(_FORMS)
    if len(body) > size:
        value = chance.choice((*INTERESTING, len(body), chance.getrandbits(64)))
        struct.pack_into(form, body, chance.randrange(len(body) - size), value & mask)


def _splice(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    other = chance.choice(corpus).data
    start = chance.randrange(4, len(other))
    body[chance.randrange(10, len(body) + 1) :] = other[start:]


def _insert(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    at = chance.randrange(len(body))
    body[at:at] = chance.randbytes(chance.choice((1, 2, 4, 100)))


def _remove(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    at = chance.randrange(len(body))
    del body[at : at + chance.choice((1, 2, 4, 50))]


def _other_version(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    struct.pack_into(
        ">h", body, 2, chance.choice((frame.version + 1, frame.version - 1, chance.randrange(-2, 20)))
    )


def _other_api(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    struct.pack_into(">h", body, 0, chance.choice(corpus).api)


def _break_batch(chance: random.Random, body: bytearray, frame: Frame, corpus: Sequence[Frame]) -> None:
    """Damage the record batch, mostly with its checksum made right again, or nothing behind it is reached."""
    start, end = frame.batch_start - 4, frame.batch_end - 4
    if end - start < 61 or end > len(body):
        return
    if chance.random() < 0.5:
        size, form, mask = chance.choice(_FORMS)
        at = chance.randrange(start, min(end - size, start + 61))
        struct.pack_into(form, body, at, chance.choice(INTERESTING) & mask)
    else:
        body[chance.randrange(start, end)] ^= 1 << chance.randrange(8)
    if chance.random() < 0.8 and body[start + 16] == 2:
        struct.pack_into(">I", body, start + 17, crc32c(bytes(body[start + 21 : end])))


MUTATIONS: Final[tuple[Mutation, ...]] = (
    _flip_bits,
    _flip_bits,
    _cut,
    _edit_number,
    _edit_number,
    _edit_number,
    _splice,
    _insert,
    _remove,
    _other_version,
    _other_api,
    _break_batch,
    _break_batch,
)


def mutate(chance: random.Random, frame: Frame, corpus: Sequence[Frame]) -> bytes:
    """One damaged frame. Its size prefix is right, as else only the size check would see it, but for a few."""
    if frame.batch_end and chance.random() < 0.5:
        mutations: Sequence[Mutation] = (_break_batch,)
    else:
        mutations = MUTATIONS
    body = bytearray(frame.data[4:])
    for _ in range(chance.choice((0, 1, 1, 1, 1, 2, 3))):
        if len(body) >= 14:
            chance.choice(mutations)(chance, body, frame, corpus)
    size = len(body)
    if chance.random() < 0.02:
        size = chance.choice((*INTERESTING[:-1], len(body) + 1, len(body) - 1))
    return struct.pack(">i", (size + 2**31) % 2**32 - 2**31) + body


def group(seed: int, corpus: Sequence[Frame], count: int) -> list[bytes]:
    """`count` frames for one connection; some come twice, some out of order."""
    chance = random.Random(seed)
    frames = [mutate(chance, chance.choice(corpus), corpus) for _ in range(count)]
    if chance.random() < 0.2:
        frames.append(chance.choice(frames))
    if chance.random() < 0.2:
        chance.shuffle(frames)
    return frames
