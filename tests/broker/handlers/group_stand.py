"""A broker for the handlers of groups: as `StandIn`, with a coordinator, a clock, and answers that may come later."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.offsets_topic import OffsetsTopic
from broker.coordinator.settings import GroupSettings
from broker.request import Deferred, Request
from broker.topics.commands import CreateTopics, NewTopic
from protocol.api import ApiKey
from protocol.compiler import decoder, encode, encoder, message_class
from protocol.primitives import Output
from tests.broker.coordinator.fakes import FakeHandle, FakeHost
from tests.broker.handlers.stand import StandIn

CONNECTION = SimpleNamespace(peer_host="10.0.0.1", principal="User:ANONYMOUS")


class GroupStand(StandIn):
    """Syncs follow a request at once; `host` holds the time."""

    def __init__(self, **overrides: str) -> None:
        super().__init__(**{"group.initial.rebalance.delay.ms": "0"} | overrides)
        self.host = FakeHost()
        for name, partitions in (("a", 2), ("b", 3)):
            self.catalog.submit(CreateTopics([NewTopic(name, self.new_id(), partitions)]))

    @cached_property
    def groups(self) -> GroupCoordinator:
        groups = GroupCoordinator(
            OffsetsTopic(self),  # type: ignore[arg-type]
            self,
            GroupSettings.of(self.config),
            self.flusher.run_round,
        )
        groups.load()
        return groups

    def clock_ms(self) -> int:
        return self.host.now_ms

    def call_later(self, delay_ms: int, callback: Callable[[], None]) -> FakeHandle:
        return self.host.call_later(delay_ms, callback)

    def write_succeeded(self) -> None:
        pass

    def ask(self, version: int, message: Any, client_id: str | None = "test") -> list[Any]:
        """Ask; the list holds the answer when it is there. Each goes through its bytes at `version`."""
        request_class = type(message)
        api = ApiKey(request_class.__schema__.key)
        data = memoryview(bytes(encode(message, version)))
        decoded, end = decoder(request_class, version)(data, 0)
        assert end == len(data)
        module = import_module(f"broker.handlers.{api.name.lower()}")
        request = Request(api, version, 1, client_id, decoded, CONNECTION)  # type: ignore[arg-type]
        response = module.handle(self, request)
        answers: list[Any] = []

        def arrived(value: Any) -> None:
            out = Output()
            encoder(message_class(api, response=True), version)(value, out)
            answer, end = decoder(message_class(api, response=True), version)(memoryview(bytes(out)), 0)
            assert end == len(out)
            answers.append(answer)

        if isinstance(response, Deferred):
            response.then(arrived)
        else:
            arrived(response)
        self.flusher.run_round()
        self.host.advance(0)
        self.flusher.run_round()
        return answers

    def answer(self, version: int, message: Any, client_id: str | None = "test") -> Any:
        """Ask, and take the answer, which must be there."""
        (answer,) = self.ask(version, message, client_id)
        return answer
