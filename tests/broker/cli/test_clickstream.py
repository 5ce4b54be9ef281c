"""The made-up clickstream: the same for the same seed, and a story that adds up."""

import json
from itertools import islice
from typing import Any

from broker.cli.clickstream import events

START_MS = 1_700_000_000_000


def documents(seed: int, count: int, per_second: int = 1000) -> list[dict[str, Any]]:
    return [json.loads(event.value) for event in islice(events(seed, START_MS, per_second), count)]


def test_a_seed_is_a_stream() -> None:
    first = list(islice(events(7, START_MS, 1000), 5_000))
    assert first == list(islice(events(7, START_MS, 1000), 5_000))
    assert first != list(islice(events(8, START_MS, 1000), 5_000))


def test_events_are_numbered_keyed_by_session_and_in_time() -> None:
    stream = list(islice(events(1, START_MS, 250), 1_000))
    values = [json.loads(event.value) for event in stream]
    assert [value["event_id"] for value in values] == list(range(1_000))
    assert [value["session_id"].encode() for value in values] == [event.key for event in stream]
    assert [event.timestamp - START_MS for event in stream] == list(range(0, 4_000, 4))
    assert values[251]["timestamp"] == "2023-11-14T22:13:21.004Z"


def test_nobody_buys_what_is_not_in_the_cart() -> None:
    carts: dict[str, tuple[int, int]] = {}
    orders = 0
    for value in documents(3, 60_000):
        session = value["session_id"]
        items, cents = carts.get(session, (0, 0))
        if value["event_type"] == "add_to_cart":
            quantity = value["quantity"]
            carts[session] = items + quantity, cents + round(value["product"]["price"] * 100) * quantity
        elif value["event_type"] == "purchase":
            assert (value["order"]["items"], round(value["order"]["total"] * 100)) == carts.pop(session)
            orders += 1
    assert orders > 1_000
