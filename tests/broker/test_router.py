"""From API key and version to an endpoint, and the framing of its answers."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest

from broker.handlers import HANDLERS
from broker.router import Router, skip_header_tags
from broker.security.operations import Operation, Resource
from protocol.api import PRIVATE_APIS, ApiKey, request_header_version
from protocol.compiler import message_class
from protocol.errors import ErrorCode, Malformed
from protocol.framing import parse_response
from protocol.schema import schema_of


def test_the_table_is_in_key_order_and_every_row_is_authorised() -> None:
    keys = [spec.api for spec in HANDLERS]
    assert keys == sorted(set(keys))
    for spec in HANDLERS:
        is_open = spec.operation == Operation.NONE
        assert is_open == (spec.resource == Resource.NONE)


@pytest.mark.parametrize("spec", HANDLERS, ids=lambda spec: spec.api.name)
def test_every_advertised_version_has_codecs_and_a_handler(spec) -> None:  # type: ignore[no-untyped-def]
    router = Router()
    lowest, highest = spec.versions
    versions = schema_of(message_class(spec.api, response=False)).versions
    assert versions.first <= lowest <= highest <= versions.last
    for version in range(lowest, highest + 1):
        endpoint = router.endpoint(spec.api, version)
        assert endpoint.decode is not None and callable(endpoint.handle)
        assert endpoint.is_flexible == (request_header_version(spec.api, version) == 2)
        assert router.endpoint(spec.api, version) is endpoint


@pytest.mark.parametrize(
    ("api_key", "version"),
    [(-1, 0), (4, 0), (32767, 0), (-32768, -1), (ApiKey.PRODUCE, -1), (ApiKey.FETCH, 19)],
)
def test_what_is_not_served_is_malformed(api_key: int, version: int) -> None:
    with pytest.raises(Malformed, match="is not served"):
        Router().endpoint(api_key, version)


@pytest.mark.parametrize("version", [5, -1, 32767])
def test_api_versions_is_answered_as_version_0(version: int) -> None:
    endpoint = Router().endpoint(ApiKey.API_VERSIONS, version)
    assert endpoint.decode is None
    broker = SimpleNamespace(catalog=SimpleNamespace(applied_offset=1, features={}))
    frame = endpoint.encode_frame(9, endpoint.handle(broker, None))  # type: ignore[arg-type]
    correlation_id, answer = parse_response(ApiKey.API_VERSIONS, 0, bytes(frame)[4:])
    assert (correlation_id, answer.error_code) == (9, ErrorCode.UNSUPPORTED_VERSION)
    assert {key.api_key for key in answer.api_keys} == {spec.api for spec in HANDLERS} - PRIVATE_APIS


def test_the_size_prefix_counts_slices() -> None:
    from protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData

    piece = SimpleNamespace(length=1000)
    data = PartitionData(partition_index=0, records=piece)
    response = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[data])])
    frame = Router().endpoint(ApiKey.FETCH, 11).encode_frame(3, response)
    assert struct.unpack_from(">ii", frame) == (len(frame) + 1000 - 4, 3)
    assert [found for _, found in frame.slices] == [piece]


@pytest.mark.parametrize(
    ("tags", "end"), [(b"\0rest", 1), (b"\1\5\2xyrest", 5), (b"\2\0\0\1\1zrest", 6), (b"\1\x80\1\0rest", 4)]
)
def test_header_tags_are_skipped(tags: bytes, end: int) -> None:
    assert skip_header_tags(memoryview(tags), 0) == end


@pytest.mark.parametrize(
    "tags", [b"", b"\1", b"\1\0", b"\1\0\5ab", b"\2\0\0\0\0", b"\xff\xff\xff\xff\xff\xff"]
)
def test_header_tags_that_lie_are_malformed(tags: bytes) -> None:
    with pytest.raises(Malformed, match="request header"):
        skip_header_tags(memoryview(tags), 0)
