"""The table of flexible versions in api.py against the message classes, and the header rules."""

from __future__ import annotations

import pytest

from protocol.api import (
    NEVER_FLEXIBLE,
    ApiKey,
    first_flexible_version,
    request_header_version,
    response_header_version,
)
from protocol.compiler import message_class
from protocol.schema import schema_of

# Kafka 4.3's own ranges. Ours begin where any client's ever did, and end where Kafka's do; InitProducerId 6
# (KIP-939) is in Kafka's schemas but not advertised.
NEWEST = {
    ApiKey.PRODUCE: 13,
    ApiKey.FETCH: 18,
    ApiKey.LIST_OFFSETS: 11,
    ApiKey.METADATA: 13,
    ApiKey.OFFSET_COMMIT: 10,
    ApiKey.OFFSET_FETCH: 10,
    ApiKey.FIND_COORDINATOR: 6,
    ApiKey.JOIN_GROUP: 9,
    ApiKey.SYNC_GROUP: 5,
    ApiKey.API_VERSIONS: 4,
    ApiKey.CREATE_TOPICS: 7,
    ApiKey.INIT_PRODUCER_ID: 6,
    ApiKey.CONSUMER_GROUP_HEARTBEAT: 1,
}
BORN_LATER = {
    ApiKey.SHARE_GROUP_HEARTBEAT,
    ApiKey.SHARE_GROUP_DESCRIBE,
    ApiKey.SHARE_FETCH,
    ApiKey.SHARE_ACKNOWLEDGE,
}


@pytest.mark.parametrize("key", ApiKey, ids=lambda key: key.name)
def test_request_and_response_know_the_same_versions(key: ApiKey) -> None:
    request, response = (schema_of(message_class(key, side)) for side in (False, True))
    assert request.kind == "request"
    assert response.kind == "response"
    assert request.key == response.key == key
    assert request.versions == response.versions
    assert request.flexible == response.flexible
    assert request.versions.first == (1 if key in BORN_LATER else 0)


@pytest.mark.parametrize("key", ApiKey, ids=lambda key: key.name)
def test_the_flexible_table_repeats_the_messages(key: ApiKey) -> None:
    schema = schema_of(message_class(key, response=False))
    never = schema.flexible.last < schema.flexible.first
    assert first_flexible_version(key) == (NEVER_FLEXIBLE if never else schema.flexible.first)
    for version in range(schema.versions.first, schema.versions.last + 1):
        flexible = version in schema.flexible
        assert request_header_version(key, version) == (2 if flexible else 1)
        expected = 0 if key == ApiKey.API_VERSIONS else int(flexible)
        assert response_header_version(key, version) == expected


@pytest.mark.parametrize(("key", "version"), NEWEST.items())
def test_newest_versions(key: ApiKey, version: int) -> None:
    assert schema_of(message_class(key, response=False)).versions.last == version


def test_modules_are_named_as_their_api() -> None:
    for key in ApiKey:
        cls = message_class(key, response=False)
        assert cls.__module__ == f"protocol.messages.{key.name.lower()}"
        assert cls.__name__ == "".join(word.capitalize() for word in key.name.split("_")) + "Request"
