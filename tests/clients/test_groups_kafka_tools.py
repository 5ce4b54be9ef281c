"""Groups of every library as Kafka's own tools see them, beside what `floe groups describe` shows; group settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.bench.brokers import find_kafka_jars
from tests.clients.confluent_members import PARTITIONS, PER_PARTITION, create, produce
from tests.clients.group_members import LIMIT_S, wait_until
from tests.floe_process import FLOE, FloeProcess

TOPIC: Final = "described"
GROUPS: Final = {
    "kafka-python": ("kafka-python", "kafka-python"),
    "aiokafka": ("aiokafka", "aiokafka"),
    "librdkafka-eager": ("confluent-range", "confluent-range"),
    "librdkafka-cooperative": ("confluent-cooperative-sticky", "confluent-cooperative-sticky"),
    "librdkafka-consumer": ("confluent-consumer", "confluent-consumer"),
    "in-migration": ("confluent-range", "confluent-consumer"),
}
"""Groups by name, and the members of each, of `storm_process`."""

SIMPLE: Final = "simple"
"""A group that only commits."""

SETTINGS: Final = {
    "group.initial.rebalance.delay.ms": "500",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "200",
    "group.consumer.min.heartbeat.interval.ms": "200",
}
_GROUPS_TOOL: Final = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
_CONFIGS_TOOL: Final = "kafka.admin.ConfigCommand"

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def jars() -> Path:
    jars = find_kafka_jars()
    if isinstance(jars, str):
        pytest.skip(f"without Kafka's tools: {jars}")
    return jars


@pytest.fixture(scope="module")
def floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", SETTINGS).start()
    yield process
    process.end()


class Tool:
    """One of Kafka's command-line tools at work: starting one takes a second, so they run side by side."""

    def __init__(self, jars: Path, floe: FloeProcess, tool: str, *arguments: str) -> None:
        command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*", tool]
        command += ["--bootstrap-server", floe.bootstrap, *arguments]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def output(self) -> str:
        return self._process.communicate(timeout=LIMIT_S)[0]

    def rows(self) -> Rows:
        """The lines of its tables by column, whatever columns each of them has."""
        rows, columns = [], list[str]()
        for line in self.output().replace("COORDINATOR (ID)", "COORDINATOR ID").splitlines():
            words = line.split()
            if words[:1] == ["GROUP"]:
                columns = words
            elif words:
                rows.append(dict(zip(columns, words)))
        return rows


def described(floe: FloeProcess, group: str) -> dict[str, Any]:
    command = [str(FLOE), "groups", "describe", group, "-b", floe.bootstrap, "--output", "json"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(found.stdout)[0] if found.returncode == 0 else {"members": [], "partitions": []}


def is_settled(group: dict[str, Any]) -> bool:
    """Two members, who share the partitions and have read and committed everything."""
    shares = [sum(map(len, member["assignment"].values())) for member in group["members"]]
    lags = [partition["lag"] for partition in group["partitions"]]
    return shares == [PARTITIONS // 2] * 2 and lags == [0] * PARTITIONS and group["state"] == "Stable"


@pytest.fixture(scope="module")
def groups(jars: Path, floe: FloeProcess) -> Iterator[dict[str, dict[str, Any]]]:
    """Every group, with its members at work, as Floe's command shows it."""
    create(floe, TOPIC)
    produce(floe, TOPIC)
    with ExitStack() as stack:
        for group, members in GROUPS.items():
            for library in members:
                command = [sys.executable, "-m", "tests.clients.storm_process", library]
                command += [floe.bootstrap, group, TOPIC, "1"]
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                stack.callback(process.wait, LIMIT_S)
                stack.callback(process.kill)
        found: dict[str, dict[str, Any]] = {}
        for group in GROUPS:

            def look(group: str = group) -> bool:
                found[group] = described(floe, group)
                return is_settled(found[group])

            wait_until(look, f"{group} is settled")
        consumer = Consumer({"bootstrap.servers": floe.bootstrap, "group.id": SIMPLE})
        positions = [TopicPartition(TOPIC, index, PER_PARTITION) for index in range(PARTITIONS)]
        consumer.commit(offsets=positions, asynchronous=False)
        consumer.close()
        yield {**found, SIMPLE: described(floe, SIMPLE)}


def test_offsets_members_and_state_are_what_kafkas_tool_shows(
    jars: Path, floe: FloeProcess, groups: dict[str, dict[str, Any]]
) -> None:
    named = [argument for group in groups for argument in ("--group", group)]
    tools = {
        what: Tool(jars, floe, _GROUPS_TOOL, "--describe", *named, f"--{what}", "--verbose")
        for what in ("offsets", "members", "state")
    }
    shown = {what: tool.rows() for what, tool in tools.items()}
    for group, ours in groups.items():
        theirs = {what: [row for row in rows if row["GROUP"] == group] for what, rows in shown.items()}
        assert _offsets_of_tool(theirs["offsets"]) == _offsets(ours)
        assert _members_of_tool(theirs["members"]) == _members(ours)
        (state,) = theirs["state"]
        assert state["STATE"] == ours["state"] == ("Empty" if group == SIMPLE else "Stable")
        assert state["COORDINATOR"] == ours["coordinator"]
        assert state["ASSIGNMENT-STRATEGY"] == _text(ours["assignor"])
        assert state["GROUP-EPOCH"] == _text(ours["epoch"])
        assert state["TARGET-ASSIGNMENT-EPOCH"] == _text(ours["target_epoch"])
        assert state["#MEMBERS"] == str(len(ours["members"]))
    assert all(row["CURRENT-OFFSET"] == str(PER_PARTITION) for row in shown["offsets"])
    assert {row.get("UPGRADED") for row in shown["members"] if row["GROUP"] == "in-migration"} == {
        "true",
        "false",
    }


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _offsets_of_tool(rows: Rows) -> set[tuple[str, ...]]:
    columns = (
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    )
    return {tuple(row[column] for column in columns) for row in rows}


def _offsets(group: dict[str, Any]) -> set[tuple[str, ...]]:
    return {tuple(_text(value) for value in partition.values()) for partition in group["partitions"]}


def _members_of_tool(rows: Rows) -> set[tuple[str, ...]]:
    columns = "CONSUMER-ID", "HOST", "CLIENT-ID", "CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-ASSIGNMENT"
    return {tuple(row.get(column, "-") for column in columns) for row in rows}


def _members(group: dict[str, Any]) -> set[tuple[str, ...]]:
    return {
        (
            member["consumer_id"],
            member["host"],
            member["client_id"],
            _text(member["epoch"]),
            _partitions(member["assignment"]),
            _partitions(member["target_assignment"]),
        )
        for member in group["members"]
    }


def _partitions(assignment: dict[str, list[int]] | None) -> str:
    topics = (assignment or {}).items()
    return ";".join(f"{topic}:{','.join(map(str, indexes))}" for topic, indexes in topics) or "-"


def test_groups_are_listed_with_state_and_type(
    jars: Path, floe: FloeProcess, groups: dict[str, dict[str, Any]]
) -> None:
    by_state, by_type = (Tool(jars, floe, _GROUPS_TOOL, "--list", f"--{what}") for what in ("state", "type"))
    states = {row["GROUP"]: row["STATE"] for row in by_state.rows()}
    assert states == {name: group["state"] for name, group in groups.items()}
    types = {row["GROUP"]: row["TYPE"].lower() for row in by_type.rows()}
    assert types == {name: group["type"].lower() for name, group in groups.items()}
    assert types["in-migration"] == types["librdkafka-consumer"] == "consumer"


def test_settings_of_a_group(jars: Path, floe: FloeProcess) -> None:
    where = ("--entity-type", "groups", "--entity-name", "of-its-own")

    def configure(*arguments: str) -> str:
        return Tool(jars, floe, _CONFIGS_TOOL, *where, *arguments).output()

    assert "Completed" in configure(
        "--alter", "--add-config", "consumer.session.timeout.ms=50000,consumer.assignment.interval.ms=5"
    )
    set_now = configure("--describe")
    assert "consumer.session.timeout.ms=50000" in set_now
    assert "consumer.assignment.interval.ms=5 " in set_now
    assert "DEFAULT_CONFIG:group.consumer.assignment.interval.ms=1000" in set_now
    refused = configure("--alter", "--add-config", "consumer.session.timeout.ms=1")
    assert "Completed" not in refused
