"""One of the two brokers as a scenario sees it: it asks, and what came back is written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from kio.schema.index import api_key_map

from side_by_side import batches
from side_by_side.symbols import Symbols
from side_by_side.values import to_request
from side_by_side.wire import Closed, Connection

READY_LIMIT_S = 20.0
PRODUCE, LIST_OFFSETS, METADATA, FIND_COORDINATOR, HEARTBEAT, CREATE_TOPICS, INIT_PRODUCER_ID = (
    0,
    2,
    3,
    10,
    12,
    19,
    22,
)
NOT_YET = (14, 15, 16)  # the coordinator loads, is not there, is elsewhere
OWN = "~"  # stands for the shape's label in what is compared: one difference reads the same in all versions


class Side:
    """A broker, a shape's version and name, and the transcript of its answers.

    `label` is the same on both sides and belongs to one shape, so that names made from it meet nobody else's.
    """

    def __init__(
        self, name: str, address: tuple[str, int], symbols: Symbols, api: int, version: int, label: str
    ) -> None:
        self.name = name
        self.address = address
        self.api = api
        self.version = version
        self.label = label
        self.transcript: list[tuple[str, Any]] = []
        self.symbols = symbols
        if label:
            symbols.learn(label, OWN)
        self._connections: dict[str, Connection] = {}

    def ask(self, on: str = "", /, **fields: Any) -> Any:
        """Ask the shape's API at its version; the answer is compared, and returned."""
        return self.call(self.api, self.version, on, **fields)

    def call(self, api: int, version: int, on: str = "", /, **fields: Any) -> Any:
        """Ask another API; the answer is compared as well. `on` names a connection."""
        return self.send(api, version, on, **fields)()

    def send(self, api: int, version: int, on: str = "", /, **fields: Any) -> Callable[[], Any]:
        """Send and return what waits for the answer, so that requests of several connections can overlap."""
        title = f"{api_key_map[api]} v{version}" + (f" on {on}" if on else "")
        connection = self.connection(on)
        try:
            correlation_id = connection.send(to_request(api, version, fields))
        except Closed:
            return lambda: self._note(title, on, {"closed": True})

        def answer() -> Any:
            try:
                return self._note(title, on, connection.receive(api, version, correlation_id))
            except Closed:
                return self._note(title, on, {"closed": True})
            except TimeoutError:
                return self._note(title, on, {"unanswered": True})

        return answer

    def send_unanswered(self, api: int, version: int, /, **fields: Any) -> None:
        """Produce with acks=0."""
        self.connection("").send(to_request(api, version, fields))

    def send_frame(self, frame: bytes) -> bytes | None:
        """Send raw bytes; the raw answer, or None where the connection was closed."""
        connection = self.connection("")
        connection.send_frame(frame)
        try:
            return connection.receive_frame()
        except Closed:
            self.drop_connection()
            return None

    def drop_connection(self) -> None:
        """The next request goes over a new connection."""
        if "" in self._connections:
            self._connections.pop("").close()

    def note(self, title: str, value: Any) -> None:
        """Write down something else to compare."""
        self.transcript.append((title, self.symbols.replace(value)))

    def _note(self, title: str, on: str, answer: Any) -> Any:
        if answer in ({"closed": True}, {"unanswered": True}):
            self._connections.pop(on).close()
        self.transcript.append((title, self.symbols.replace(_with_batches(answer))))
        return answer

    def connection(self, on: str) -> Connection:
        if on not in self._connections:
            self._connections[on] = Connection(self.address)
        return self._connections[on]

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    # What scenarios prepare; none of it is compared.

    def quietly(self, api: int, version: int, /, **fields: Any) -> Any:
        """Ask on a connection of its own, comparing nothing."""
        connection = self.connection("preparing")
        return connection.receive(api, version, connection.send(to_request(api, version, fields)))

    def topic(self, suffix: str = "", partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
        """Create a topic of this shape's own, wait until it can be used, and return its name."""
        name = f"{self.label}{suffix}"
        self.quietly(
            CREATE_TOPICS,
            7,
            timeout=10_000,
            topics=[
                {
                    "name": name,
                    "num_partitions": partitions,
                    "replication_factor": 1,
                    "configs": [{"name": key, "value": value} for key, value in (configs or {}).items()],
                }
            ],
        )
        self.await_topic(name, partitions)
        return name

    def await_topic(self, name: str, partitions: int = 1) -> None:
        """Wait until Metadata shows the topic with its leaders, and learn its id."""
        deadline = time.monotonic() + READY_LIMIT_S
        while True:
            (found,) = self.quietly(METADATA, 12, topics=[{"name": name}], allow_auto_topic_creation=False)[
                "topics"
            ]
            leaders = [p for p in found["partitions"] if p["leader_id"] >= 0 and not p["error_code"]]
            if not found["error_code"] and len(leaders) == partitions and self._is_led(name, partitions):
                self.symbols.learn(found["topic_id"], f"<id of {self._short(name)}>")
                return
            assert time.monotonic() < deadline, f"{self.name}: {name} is not ready: {found}"
            time.sleep(0.005)

    def _is_led(self, name: str, partitions: int) -> bool:
        """Whether the partitions answer: Kafka's metadata knows a leader before the leader knows itself."""
        asked = [{"partition_index": index, "timestamp": -2} for index in range(partitions)]
        answer = self.quietly(LIST_OFFSETS, 6, replica_id=-1, topics=[{"name": name, "partitions": asked}])
        return not any(partition["error_code"] for partition in answer["topics"][0]["partitions"])

    def topic_id(self, name: str) -> str:
        return self.symbols.value(f"<id of {self._short(name)}>")

    def has_id(self, name: str) -> bool:
        return f"<id of {self._short(name)}>" in self.symbols.known().values()

    def _short(self, name: str) -> str:
        return name.replace(self.label, OWN) if self.label else name

    def produce(self, topic: str, *data: bytes, partition: int = 0) -> list[Any]:
        """Write batches, one request each."""
        answers = []
        for one in data:
            partitions = [{"index": partition, "records": one}]
            answer = self.quietly(
                PRODUCE,
                9,
                acks=-1,
                timeout=10_000,
                topic_data=[{"name": topic, "partition_data": partitions}],
            )
            answers.append(answer["responses"][0]["partition_responses"][0])
        return answers

    def producer(self) -> dict[str, int]:
        """A new idempotent producer's id and epoch."""
        answer = self.until_quietly(
            INIT_PRODUCER_ID, 4, _succeeded, transactional_id=None, transaction_timeout=60_000
        )
        return {name: answer[name] for name in ("producer_id", "producer_epoch")}

    def await_coordinator(self, key: str, kind: int = 0) -> None:
        """Wait until a group or transactional id has its coordinator, and this has loaded."""
        self.until_quietly(FIND_COORDINATOR, 3, _succeeded, key=key, key_type=kind)
        if kind == 0:
            self.until_quietly(
                HEARTBEAT, 4, lambda answer: answer["error_code"] not in NOT_YET, group_id=key, member_id="x"
            )

    def until_quietly(self, api: int, version: int, good: Callable[[Any], bool], /, **fields: Any) -> Any:
        """Ask again and again until the answer is good."""
        deadline = time.monotonic() + READY_LIMIT_S
        while True:
            answer = self.quietly(api, version, **fields)
            if good(answer):
                return answer
            assert time.monotonic() < deadline, f"{self.name}: {answer}"
            time.sleep(0.02)

    def until(self, api: int, version: int, good: Callable[[Any], bool], /, **fields: Any) -> Any:
        """Ask again and again until the answer is good; the last one is compared."""
        deadline = time.monotonic() + READY_LIMIT_S
        title = f"{api_key_map[api]} v{version} at last"
        while True:
            answer = self.quietly(api, version, **fields)
            if good(answer) or time.monotonic() > deadline:
                self.note(title, _with_batches(answer))
                return answer
            time.sleep(0.02)


def _succeeded(answer: Any) -> bool:
    return not answer["error_code"]


def _with_batches(answer: Any) -> Any:
    """The same with every `records` field taken apart."""
    if isinstance(answer, Mapping):
        return {
            name: batches.read(value) if name == "records" else _with_batches(value)
            for name, value in answer.items()
        }
    if isinstance(answer, list):
        return [_with_batches(item) for item in answer]
    return answer
