"""Fetch sessions (KIP-227) as a value: epochs, what is named and forgotten, room."""

from __future__ import annotations

from itertools import count

import pytest

from broker.fetching.sessions import FetchedPartition, FetchSessions, Wanted
from protocol.errors import ApiError, ErrorCode


def wanted(*topics: str) -> Wanted:
    return {(topic, 0): FetchedPartition(topic, 0, 100, -1, -1) for topic in topics}


def sessions(slots: int = 10, eviction_ms: int = 1000) -> FetchSessions:
    return FetchSessions(slots, eviction_ms, count(1).__next__)


def refusal(made: FetchSessions, session_id: int, epoch: int, uses_topic_ids: bool = False) -> ErrorCode:
    with pytest.raises(ApiError) as caught:
        made.use(session_id, epoch, uses_topic_ids, 0)
    return caught.value.code


def test_epochs_follow_each_other() -> None:
    made = sessions()
    session = made.create(wanted("a"), False, 0)
    assert session is not None and session.epoch == 1
    for epoch in (1, 2, 3):
        assert made.use(session.session_id, epoch, False, 0) is session
    assert refusal(made, session.session_id, 3) == ErrorCode.INVALID_FETCH_SESSION_EPOCH
    assert refusal(made, session.session_id, 5) == ErrorCode.INVALID_FETCH_SESSION_EPOCH
    assert made.use(session.session_id, 4, False, 0) is session


def test_the_epoch_wraps_to_one() -> None:
    made = sessions()
    session = made.create(wanted("a"), False, 0)
    assert session is not None
    session.epoch = 2**31 - 1
    made.use(session.session_id, 2**31 - 1, False, 0)
    assert session.epoch == 1


def test_a_session_nobody_knows() -> None:
    made = sessions()
    session = made.create(wanted("a"), False, 0)
    assert session is not None
    assert refusal(made, 99, 1) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    made.close(session.session_id)
    made.close(session.session_id)
    assert refusal(made, session.session_id, 1) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_a_session_stays_with_names_or_ids() -> None:
    made = sessions()
    session = made.create(wanted("a"), False, 0)
    assert session is not None
    code = refusal(made, session.session_id, 1, uses_topic_ids=True)
    assert code == ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
    assert session.epoch == 1


def test_what_is_named_is_added_or_changed_and_what_is_forgotten_is_gone() -> None:
    made = sessions()
    session = made.create(wanted("a", "b"), False, 0)
    assert session is not None
    session.partitions["a", 0].told_high_watermark = 7
    again = FetchedPartition("a", 50, 200, 3, 2)
    session.update({("a", 0): again, **wanted("c")}, [("b", 0), ("never", 1)])
    assert list(session.partitions) == [("a", 0), ("c", 0)]
    changed = session.partitions["a", 0]
    assert (changed.fetch_offset, changed.max_bytes) == (50, 200)
    assert (changed.current_leader_epoch, changed.last_fetched_epoch) == (3, 2)
    assert changed.told_high_watermark == 7, "what it was told is not forgotten with what it asks"


def test_what_was_served_goes_to_the_end() -> None:
    session = sessions().create(wanted("a", "b", "c"), False, 0)
    assert session is not None
    session.move_to_end(("a", 0))
    session.move_to_end(("gone", 0))
    assert [topic for topic, _ in session.partitions] == ["b", "c", "a"]


def test_the_oldest_idle_session_gives_way_and_a_live_one_does_not() -> None:
    made = sessions(slots=2, eviction_ms=1000)
    first = made.create(wanted("a"), False, 0)
    second = made.create(wanted("a"), False, 100)
    assert first is not None and second is not None
    made.use(first.session_id, 1, False, 500)
    assert made.create(wanted("a"), False, 1099) is None
    third = made.create(wanted("a"), False, 1100)
    assert third is not None and len(made) == 2
    assert refusal(made, second.session_id, 1) == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert made.use(first.session_id, 2, False, 1100) is first


def test_nothing_wanted_is_no_session_and_no_slot_holds_none() -> None:
    assert sessions().create({}, False, 0) is None
    assert sessions(slots=0).create(wanted("a"), False, 10**12) is None


def test_ids_are_never_zero_nor_taken() -> None:
    ids = iter([0, 5, 5, 0, 6])
    made = FetchSessions(10, 1000, ids.__next__)
    first, second = made.create(wanted("a"), False, 0), made.create(wanted("a"), False, 0)
    assert first is not None and second is not None
    assert (first.session_id, second.session_id) == (5, 6)
