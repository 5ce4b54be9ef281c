"""From topics to tables."""

from __future__ import annotations

import pytest

from broker.tiering.names import (
    InvalidTemplate,
    collisions,
    dead_letters_identifier,
    retired_identifier,
    table_identifier,
)


@pytest.mark.parametrize(
    ("topic", "template", "identifier"),
    [
        ("orders", "{namespace}.{topic}", ("floe", "orders")),
        ("orders.v1", "{namespace}.{topic}", ("floe", "orders_v1")),
        ("Orders-EU", "{namespace}.{topic_lower}", ("floe", "orders_eu")),
        ("orders", "lake.{namespace}.raw_{topic}", ("lake", "floe", "raw_orders")),
    ],
)
def test_names(topic: str, template: str, identifier: tuple[str, ...]) -> None:
    assert table_identifier(topic, "floe", template) == identifier


@pytest.mark.parametrize(
    "template", ["{topic}", "{namespace}.{name}", "{namespace}.", "a b.{topic}", "{namespace}.{topic"]
)
def test_templates_that_name_no_table(template: str) -> None:
    with pytest.raises(InvalidTemplate):
        table_identifier("orders", "floe", template)


def test_a_name_that_no_catalog_holds() -> None:
    table_identifier("x" * 249, "floe")
    with pytest.raises(InvalidTemplate, match="255"):
        table_identifier("x" * 249, "floe", "{namespace}.{topic}_and_more")


def test_names_beside_it() -> None:
    assert dead_letters_identifier(("floe", "orders")) == ("floe", "orders__dlq")
    assert retired_identifier(("floe", "orders"), "x-Y_z1234567") == ("floe", "orders__xyz12345")


def test_topics_that_want_one_table() -> None:
    topics = ["orders.v1", "orders_v1", "Orders", "orders", "clicks", "clicks__dlq"]
    assert collisions(topics, "floe") == {
        "floe.clicks__dlq": ["clicks", "clicks__dlq"],
        "floe.orders": ["Orders", "orders"],
        "floe.orders__dlq": ["Orders", "orders"],
        "floe.orders_v1": ["orders.v1", "orders_v1"],
        "floe.orders_v1__dlq": ["orders.v1", "orders_v1"],
    }
    assert collisions(["orders.v1", "clicks"], "floe") == {}
