"""Subscriptions by regular expression: RE2's language, whole names, found again when topics come and go."""

from __future__ import annotations

import pytest

from broker.coordinator.consumer_regex import MAX_PATTERN_BYTES, compile_pattern, matching
from protocol.errors import ApiError, ErrorCode
from tests.broker.coordinator.consumer_harness import Coordinated

NAMES = ("orders", "orders-eu", "payments", "__consumer_offsets")


def test_the_whole_name_has_to_match() -> None:
    assert matching("orders", NAMES) == {"orders"}
    assert matching("orders.*", NAMES) == {"orders", "orders-eu"}
    assert matching("^(orders|pay).*$", NAMES) == {"orders", "orders-eu", "payments"}
    assert matching("(?i)ORDERS", NAMES) == {"orders"}


@pytest.mark.parametrize(
    "pattern",
    ["[", "(a)\\1", "a(?=b)", "a(?<!b)", "(?P<n>a)(?P=n)", "a**", "x{1001}", "((a{100}){100}){100}"],
)
def test_what_is_not_re2_is_refused(pattern: str) -> None:
    with pytest.raises(ApiError) as caught:
        compile_pattern(pattern)
    assert caught.value.code is ErrorCode.INVALID_REGULAR_EXPRESSION


def test_a_pattern_has_a_longest_length() -> None:
    compile_pattern("a" * MAX_PATTERN_BYTES)
    for pattern in ("a" * (MAX_PATTERN_BYTES + 1), "ä" * MAX_PATTERN_BYTES):
        with pytest.raises(ApiError, match="INVALID_REGULAR_EXPRESSION"):
            compile_pattern(pattern)


def test_no_pattern_takes_long() -> None:
    """A backtracking engine would take longer than the universe has existed."""
    names = ["a" * 249] * 100
    for pattern in ("((a*)*)*b", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)b"):
        assert matching(pattern, names) == frozenset()


def test_subscriptions_are_resolved_again_when_topics_change() -> None:
    it = Coordinated(orders=2, payments=1)
    a = it.member("a", topic_names=None, topic_regex="orders.*")
    a.join()
    a.obey()
    assert a.owned == it.topics.partitions("orders")
    it.topics.create("orders-eu", 3)
    a.beat()
    a.obey()
    assert a.owned == it.topics.partitions("orders", "orders-eu")
    it.restart()
    assert a.beat().member_epoch == a.epoch == 2
    assert it.group.is_subscribed_to("orders-eu")
    it.topics.delete("orders")
    a.beat()
    a.obey()
    assert a.owned == it.topics.partitions("orders-eu")


def test_a_pattern_nobody_uses_is_forgotten() -> None:
    it = Coordinated(topic=2)
    a, b = it.member("a", topic_names=None, topic_regex="t.*"), it.member("b", topic_regex="t.*")
    a.join()
    b.join()
    assert set(it.group.regexes) == {"t.*"}
    b.beat(topic_regex="")
    assert set(it.group.regexes) == {"t.*"}
    a.beat(topic_regex="to.*")
    assert set(it.group.regexes) == {"to.*"}
    a.leave()
    assert not it.group.regexes
    it.restart()
    assert not it.group.regexes and it.group.subscribed_topics() == {"topic"}


def test_an_invalid_pattern_changes_nothing() -> None:
    it = Coordinated(topic=2)
    a = it.member("a")
    a.join()
    response = a.beat(topic_regex="[")
    assert response.error_code == ErrorCode.INVALID_REGULAR_EXPRESSION and "`[`" in response.error_message
    assert it.group.members["a"].topic_regex == "" and it.group.group_epoch == 1
    assert it.member("b", topic_names=None, topic_regex="(a").join().error_code != 0
    assert list(it.group.members) == ["a"]


def test_names_and_pattern_together() -> None:
    it = Coordinated(orders=2, payments=1)
    a = it.member("a", "payments", topic_regex="orders")
    a.join()
    assert a.told == it.topics.partitions()
