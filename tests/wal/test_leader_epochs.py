"""Leader epochs: Kafka's answers for end offsets, truncation, the checkpoint file."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.golden_records import GOLDEN
from wal.leader_epochs import CorruptCheckpoint, LeaderEpochs

UNDEFINED = (-1, -1)


def epochs(*entries: tuple[int, int]) -> LeaderEpochs:
    found = LeaderEpochs()
    for epoch, start_offset in entries:
        assert found.assign(epoch, start_offset)
    return found


def test_end_offsets() -> None:
    assert LeaderEpochs().epoch_end_offset(0, 0) == UNDEFINED
    found = epochs((2, 10), (5, 20), (7, 40))
    assert found.epoch_end_offset(-1, 50) == UNDEFINED
    assert found.epoch_end_offset(7, 50) == (7, 50)  # the latest ends with the log
    assert found.epoch_end_offset(8, 50) == UNDEFINED
    assert found.epoch_end_offset(5, 50) == (5, 40)
    assert found.epoch_end_offset(6, 50) == (5, 40)  # unknown in between: the largest below
    assert found.epoch_end_offset(2, 50) == (2, 20)
    assert found.epoch_end_offset(1, 50) == (1, 10)  # older than all: where the first known begins


def test_assign_is_idempotent_and_monotonic() -> None:
    found = epochs((2, 10))
    assert not found.assign(2, 10)
    assert not found.assign(2, 15)
    assert found.assign(3, 20)
    assert found.latest_epoch == 3
    assert found.assign(4, 20)  # nothing was written in 3
    assert found.entries == ((2, 10), (4, 20))
    assert found.assign(3, 30)  # an older epoch comes back: what contradicts it goes
    assert found.entries == ((2, 10), (3, 30))
    assert found.assign(3, 25)
    assert found.entries == ((2, 10), (3, 25))


def test_truncation() -> None:
    found = epochs((2, 10), (3, 20), (4, 30))
    assert not found.truncate_from_end(31)
    assert found.truncate_from_end(30)
    assert found.entries == ((2, 10), (3, 20))
    found = epochs((2, 10), (3, 20), (4, 30))
    assert not found.truncate_from_start(5)
    assert not found.truncate_from_start(10)
    assert found.truncate_from_start(25)
    assert found.entries == ((3, 25), (4, 30))
    assert found.truncate_from_start(30)
    assert found.entries == ((4, 30),)
    assert found.truncate_from_end(0)
    assert found.entries == () and found.latest_epoch == -1


def test_epoch_for_offset() -> None:
    found = epochs((2, 10), (5, 20))
    assert [found.epoch_for_offset(offset) for offset in (9, 10, 19, 20, 99)] == [-1, 2, 2, 5, 5]


def test_kafkas_own_checkpoint() -> None:
    data = GOLDEN["leader-epoch-checkpoint"]
    found = LeaderEpochs.decode(data)
    assert found.entries == ((0, 0), (3, 1500), (4, 1 << 40))
    assert found.encode() == data


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 500))))
def test_entries_stay_monotonic_and_survive_the_file(assignments: list[tuple[int, int]]) -> None:
    found = LeaderEpochs()
    for epoch, start_offset in assignments:
        found.assign(epoch, start_offset)
        entries = found.entries
        assert found.latest_epoch == epoch
        assert all(a.epoch < b.epoch and a.start_offset < b.start_offset for a, b in pairwise(entries))
    assert LeaderEpochs.decode(found.encode()).entries == found.entries


@pytest.mark.parametrize(
    "text",
    ["", "0", "1\n0\n", "0\n2\n0 0\n", "0\n1\n0\n", "0\n1\n0 x\n", "0\n1\n-1 0\n", "0\n1\n0 -5\n", "\xff"],
)
def test_bad_checkpoints(text: str) -> None:
    with pytest.raises(CorruptCheckpoint):
        LeaderEpochs.decode(text.encode("latin-1"))
