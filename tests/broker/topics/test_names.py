"""Topic names, as `org.apache.kafka.common.internals.Topic` takes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.topics.names import collision_key, is_internal, is_valid_topic_name, may_collide, name_problem


@pytest.mark.parametrize("name", ["a", "a.b_c-D9", "...", "-", "_", "a" * 249, "__consumer_offsets"])
def test_legal(name: str) -> None:
    assert name_problem(name) is None
    assert is_valid_topic_name(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "Topic name is invalid: the empty string is not allowed"),
        (".", "Topic name is invalid: '.' is not allowed"),
        ("..", "Topic name is invalid: '..' is not allowed"),
        (
            "a" * 250,
            f"Topic name is invalid: the length of '{'a' * 250}' is longer than the max allowed length 249",
        ),
        (
            "bad/name",
            "Topic name is invalid: 'bad/name' contains one or more characters other than ASCII alphanumerics, "
            "'.', '_' and '-'",
        ),
    ],
)
def test_illegal(name: str, problem: str) -> None:
    assert name_problem(name) == problem


@given(st.text())
def test_legal_names_are_safe_as_folders(name: str) -> None:
    if is_valid_topic_name(name):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name, re.ASCII)
        assert len(f"{name}-99999".encode()) <= 255


def test_dots_and_underscores_collide() -> None:
    assert collision_key("a.b") == collision_key("a_b") != collision_key("a-b")
    assert may_collide("a.b")
    assert not may_collide("ab")
    assert is_internal("__consumer_offsets")
    assert not is_internal("orders")
