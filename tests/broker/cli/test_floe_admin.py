"""The commands' way to Floe's private API, against a Floe and against brokers that are none."""

from __future__ import annotations

import pytest

from broker.cli.client import BrokerError, Client
from broker.cli.errors import CommandFailed
from broker.cli.floe_admin import call
from broker.cli.options import bootstrap_servers
from protocol.api import ApiKey
from protocol.framing import response_frame
from protocol.messages.floe_admin import FloeAdminResponse
from tests.broker.cli.test_client import Answer, peer, versions
from tests.floe_process import FloeProcess


def test_a_floe_answers(shared_floe: FloeProcess) -> None:
    with Client(bootstrap_servers(shared_floe.bootstrap)) as client:
        assert "operations.list" in call(client, "operations.list")["operations"]
        with pytest.raises(BrokerError, match="INVALID_REQUEST: there is no operation 'x'"):
            call(client, "x")
        assert "operations.list" in call(client, "operations.list", {})["operations"]


def broker(reply: Answer) -> Answer:
    def answer(api_key: int, version: int, correlation_id: int) -> bytes | None:
        if api_key == ApiKey.API_VERSIONS:
            return versions(version, correlation_id, {3: (0, 1), 18: (0, 4)})
        return reply(api_key, version, correlation_id)

    return answer


def test_a_broker_that_is_no_floe_closes_the_connection() -> None:
    is_refused = pytest.raises(CommandFailed, match="works with a Floe broker only")
    with peer(broker(lambda *_: None)) as address, Client([address]) as client, is_refused:
        call(client, "operations.list")


@pytest.mark.parametrize("result", ["", "[]", "{"])
def test_an_answer_that_is_no_object(result: str) -> None:
    def reply(_: int, __: int, correlation_id: int) -> bytes:
        return bytes(response_frame(ApiKey.FLOE_ADMIN, 0, correlation_id, FloeAdminResponse(result=result)))

    is_refused = pytest.raises(CommandFailed, match="JSON")
    with peer(broker(reply)) as address, Client([address]) as client, is_refused:
        call(client, "operations.list")
