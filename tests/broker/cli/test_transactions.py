"""`floe transactions` against a real Floe process."""

import json
from collections.abc import Iterator
from typing import Any

import confluent_kafka
import confluent_kafka.admin
import pytest
from click.testing import CliRunner, Result

from broker.cli.root import floe
from tests.floe_process import FloeProcess

LIMIT_S = 30.0


@pytest.fixture(scope="module")
def run(shared_floe: FloeProcess) -> Iterator[Any]:
    def run(*arguments: str, status: int = 0) -> Result:
        command = ["transactions", *arguments, "--bootstrap-server", shared_floe.bootstrap]
        result = CliRunner().invoke(floe, command)
        assert result.exit_code == status, result.output
        return result

    yield run


def open_transaction(shared_floe: FloeProcess, name: str) -> confluent_kafka.Producer:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": shared_floe.bootstrap, "transactional.id": name}
    )
    producer.init_transactions(LIMIT_S)
    producer.begin_transaction()
    producer.produce(name, b"value", partition=0)
    assert producer.flush(LIMIT_S) == 0
    return producer


def test_list_and_describe(run: Any, shared_floe: FloeProcess) -> None:
    producer = open_transaction(shared_floe, "listed")
    found = json.loads(run("list", "--state", "ongoing", "--pattern", "list.*", "--output", "json").stdout)
    assert [(each["transactional_id"], each["state"]) for each in found] == [("listed", "Ongoing")]
    assert "listed" in run("list").stdout
    described = json.loads(run("describe", "listed", "--output", "json").stdout)
    assert described["state"] == "Ongoing"
    assert described["partitions"] == ["listed-0"]
    assert described["producer_id"] == found[0]["producer_id"]
    assert described["duration_ms"] >= 0
    producer.commit_transaction(LIMIT_S)
    assert "CompleteCommit" in run("describe", "listed").stdout
    assert json.loads(run("list", "--state", "Ongoing", "--output", "json").stdout) == []


def test_an_unknown_id(run: Any) -> None:
    assert "TRANSACTIONAL_ID_NOT_FOUND" in run("describe", "nobody", status=1).output


def test_what_its_coordinator_knows_does_not_hang(run: Any, shared_floe: FloeProcess) -> None:
    producer = open_transaction(shared_floe, "known")
    found = run("find-hanging", "--max-transaction-timeout", "0", "--output", "json")
    assert json.loads(found.stdout) == []
    producer.abort_transaction(LIMIT_S)


def test_a_hanging_transaction_is_found_and_aborted(run: Any, shared_floe: FloeProcess) -> None:
    """Its coordinator has lost all it knew."""
    producer = open_transaction(shared_floe, "hanging")
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": shared_floe.bootstrap})
    admin.delete_topics(["__transaction_state"])["__transaction_state"].result(LIMIT_S)
    search = ("find-hanging", "--topic", "hanging", "--max-transaction-timeout", "0", "--output", "json")
    (found,) = json.loads(run(*search).stdout)
    assert (found["topic"], found["partition"], found["start_offset"]) == ("hanging", 0, 0)
    assert (
        "starts at offset 7"
        in run("abort", "hanging", "--partition", "0", "--start-offset", "7", status=1).output
    )
    run("abort", "hanging", "--partition", "0", "--start-offset", "0")
    assert json.loads(run(*search).stdout) == []
    del producer
