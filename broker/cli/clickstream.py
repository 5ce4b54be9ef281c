"""A made-up web shop's clickstream, for trying things out: people come, look around, search, fill a cart, some buy.

The same seed and start give the same events. Values are JSON objects of about 250 bytes; the key is the session, so
that a session's events keep their order. Every event has `event_id` (0, 1, 2 …), `event_type`, `timestamp`, `user_id`
(null for those who are not logged in), `session_id`, `page` and `device`; some have `search`, `product` or `order`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

ACTIVE_SESSIONS: Final = 2_000
"""How many people are on the site at once."""

_DEVICES: Final = ("desktop", "mobile", "tablet")
_BROWSERS: Final = ("Chrome", "Firefox", "Safari", "Edge")
_COUNTRIES: Final = ("DE", "FR", "GB", "US", "IN", "BR", "JP", "KE", "PL", "SE")
_REFERRERS: Final = (
    "https://www.example.com/",
    "https://search.example/?q=lamp",
    "https://news.example/gifts",
)
_ADJECTIVES: Final = ("Quiet", "Amber", "Nordic", "Folding", "Copper", "Velvet", "Paper", "Solar")
_NOUNS: Final = ("Lamp", "Chair", "Kettle", "Desk", "Blanket", "Clock", "Shelf", "Mug")
_WORDS: Final = ("lamp", "gift", "desk lamp", "blue mug", "oak shelf", "clock")

# What follows what, by weight; "leave" ends a session.
_NEXT: Final = {
    "page_view": (("page_view", 4), ("search", 2), ("product_view", 4), ("leave", 2)),
    "search": (("search", 1), ("product_view", 6), ("leave", 1)),
    "product_view": (("product_view", 4), ("page_view", 2), ("add_to_cart", 3), ("leave", 2)),
    "add_to_cart": (("product_view", 4), ("purchase", 3), ("leave", 1)),
    "purchase": (("page_view", 1), ("leave", 3)),
}


@dataclass(frozen=True, slots=True)
class Event:
    """An event as a record."""

    key: bytes
    value: bytes
    timestamp: int  # milliseconds since 1970


class _Session:
    __slots__ = ("cart", "device", "id", "state", "user_id")

    def __init__(self, number: int, random: Random) -> None:
        self.id = f"s-{number:08x}"
        self.user_id = str(1_000 + random.randrange(50_000)) if random.random() < 0.6 else "null"
        self.device = json.dumps(
            {
                "type": random.choice(_DEVICES),
                "browser": random.choice(_BROWSERS),
                "country": random.choice(_COUNTRIES),
            }
        )
        self.state = "page_view"
        self.cart: list[tuple[int, int]] = []  # price in cents, quantity


def events(seed: int, start_ms: int, per_second: int) -> Iterator[Event]:
    """Events without end, `per_second` of them in each second of their own time from `start_ms` on."""
    random = Random(seed)
    choices = {state: ([name for name, weight in row for _ in range(weight)]) for state, row in _NEXT.items()}
    sessions = [_Session(number, random) for number in range(ACTIVE_SESSIONS)]
    sessions_made = ACTIVE_SESSIONS
    number = 0
    while True:
        second_ms = start_ms + number // per_second * 1000
        second = datetime.fromtimestamp(second_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        for index in range(per_second):
            place = int(random.random() * ACTIVE_SESSIONS)
            session = sessions[place]
            milliseconds = (second_ms % 1000) + index * 1000 // per_second
            timestamp = f"{second}.{milliseconds % 1000:03d}Z"
            value = _event(session, number, timestamp, random)
            yield Event(session.id.encode(), value.encode(), second_ms + index * 1000 // per_second)
            number += 1
            row = choices[session.state]
            session.state = row[int(random.random() * len(row))]
            if session.state == "leave":
                sessions[place] = _Session(sessions_made, random)
                sessions_made += 1


def _event(session: _Session, number: int, timestamp: str, random: Random) -> str:
    state = session.state
    return (
        f'{{"event_id": {number}, "event_type": "{state}", "timestamp": "{timestamp}", '
        f'"user_id": {session.user_id}, "session_id": "{session.id}", "device": {session.device}, '
        f"{_DETAILS[state](session, random)}}}"
    )


def _page_view(_session: _Session, random: Random) -> str:
    section = random.choice(_NOUNS).lower()
    return f'"page": {{"url": "/{section}s", "referrer": "{random.choice(_REFERRERS)}"}}'


def _search(_session: _Session, random: Random) -> str:
    text, hits = random.choice(_WORDS), int(random.random() * 200)
    return f'"page": {{"url": "/search"}}, "search": {{"text": "{text}", "hits": {hits}}}'


def _product(random: Random) -> tuple[int, int, str]:
    number = int(random.random() * 10_000)
    cents = 199 + number * 7919 % 20_000
    name = f"{_ADJECTIVES[number % 8]} {_NOUNS[number // 8 % 8]}"
    return number, cents, f'{{"id": {number}, "name": "{name}", "price": {cents / 100:.2f}}}'


def _product_view(_session: _Session, random: Random) -> str:
    number, _cents, product = _product(random)
    return f'"page": {{"url": "/products/{number}"}}, "product": {product}'


def _add_to_cart(session: _Session, random: Random) -> str:
    number, cents, product = _product(random)
    quantity = 1 + int(random.random() * 3)
    session.cart.append((cents, quantity))
    return f'"page": {{"url": "/products/{number}"}}, "product": {product}, "quantity": {quantity}'


def _purchase(session: _Session, random: Random) -> str:
    cents = sum(price * quantity for price, quantity in session.cart)
    items = sum(quantity for _, quantity in session.cart)
    session.cart.clear()
    coupons = '["WELCOME10"]' if random.random() < 0.2 else "[]"
    order = f'{{"items": {items}, "total": {cents / 100:.2f}, "coupons": {coupons}}}'
    return f'"page": {{"url": "/checkout"}}, "order": {order}'


_DETAILS: Final = {
    "page_view": _page_view,
    "search": _search,
    "product_view": _product_view,
    "add_to_cart": _add_to_cart,
    "purchase": _purchase,
}
