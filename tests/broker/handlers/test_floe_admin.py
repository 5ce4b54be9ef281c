"""Floe's private admin API: operations by name, errors as answers, and nothing of it advertised."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from broker.handlers.floe_admin import OPERATIONS
from broker.security.operations import Operation, Resource
from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.api_versions import ApiVersionsRequest
from protocol.messages.floe_admin import FloeAdminRequest, FloeAdminResponse
from tests.broker.handlers.stand import StandIn


def ask(operation: str, arguments: str = "{}") -> FloeAdminResponse:
    request = FloeAdminRequest(operation=operation, arguments=arguments)
    answer = StandIn().call(ApiKey.FLOE_ADMIN, 0, request)
    assert isinstance(answer, FloeAdminResponse)
    return answer


def test_every_row_is_authorised_and_its_function_exists() -> None:
    for name, row in OPERATIONS.items():
        assert row.operation != Operation.NONE and row.resource != Resource.NONE, name
        assert callable(getattr(import_module(row.module), row.function)), name


def test_the_operations_are_listed() -> None:
    answer = ask("operations.list")
    assert answer.error_code == ErrorCode.NONE
    assert json.loads(answer.result) == {"operations": sorted(OPERATIONS)}


@pytest.mark.parametrize(
    ("operation", "arguments", "word"),
    [
        ("no.such", "{}", "no.such"),
        ("", "{}", "no operation"),
        ("operations.list", "", "not JSON"),
        ("operations.list", "{", "not JSON"),
        ("operations.list", "[" * 100_000, "not JSON"),
        ("operations.list", "[1]", "not a JSON object"),
    ],
)
def test_nonsense_is_refused_with_a_reason(operation: str, arguments: str, word: str) -> None:
    answer = ask(operation, arguments)
    assert answer.error_code == ErrorCode.INVALID_REQUEST
    assert answer.error_message is not None and word in answer.error_message
    assert answer.result == ""


def test_it_is_not_advertised() -> None:
    answer = StandIn().call(ApiKey.API_VERSIONS, 0, ApiVersionsRequest())
    assert ApiKey.FLOE_ADMIN not in {key.api_key for key in answer.api_keys}
