"""Producer ids and transactions (KIP-98, KIP-890)."""

from __future__ import annotations

from typing import Any

from side_by_side.batches import TRANSACTIONAL, batch
from side_by_side.scenario import scenario
from side_by_side.side import Side

INIT, ADD_PARTITIONS, ADD_OFFSETS, END, FETCH = 22, 24, 25, 26, 1


def transactional_id(side: Side) -> str:
    side.await_coordinator(side.label, 1)
    side.until_quietly(
        INIT,
        4,
        lambda answer: answer["error_code"] not in (14, 15, 16, 51),
        transactional_id=side.label + "-probe",
        transaction_timeout=60_000,
    )
    return side.label


def init(side: Side, name: str | None, version: int = 4, **more: Any) -> dict[str, int]:
    fields = {
        "transactional_id": name,
        "transaction_timeout": 60_000,
        "producer_id": -1,
        "producer_epoch": -1,
    }
    answer = side.until_quietly(
        INIT, version, lambda seen: seen["error_code"] not in (14, 15, 16, 51), **{**fields, **more}
    )
    side.note("producer", answer)
    return {"producer_id": answer["producer_id"], "producer_epoch": answer["producer_epoch"]}


@scenario("init_producer_id", smoke=True)
def idempotent(side: Side) -> None:
    side.producer()
    side.ask(transactional_id=None, transaction_timeout=60_000, producer_id=-1, producer_epoch=-1)


@scenario("init_producer_id")
def refused(side: Side) -> None:
    name = transactional_id(side)
    side.ask(transactional_id="", transaction_timeout=60_000, producer_id=-1, producer_epoch=-1)
    side.ask(transactional_id=name, transaction_timeout=0, producer_id=-1, producer_epoch=-1)
    side.ask(transactional_id=name, transaction_timeout=2**30, producer_id=-1, producer_epoch=-1)
    side.ask(transactional_id=name, transaction_timeout=60_000, producer_id=5, producer_epoch=-1)
    side.ask(transactional_id=name, transaction_timeout=60_000, producer_id=-1, producer_epoch=5)
    side.ask(transactional_id=None, transaction_timeout=60_000, producer_id=5, producer_epoch=5)


@scenario("init_producer_id")
def transactional(side: Side) -> None:
    name = transactional_id(side)
    first = init(side, name, side.version)
    init(side, name, side.version)
    init(side, name, side.version, **first)


def add(side: Side, name: str, who: dict[str, int], version: int = 3, topics: Any = None) -> Any:
    fields = {
        "v3_and_below_transactional_id": name,
        "v3_and_below_producer_id": who["producer_id"],
        "v3_and_below_producer_epoch": who["producer_epoch"],
    }
    rows = topics or [{"name": "empty", "partitions": [0]}]
    one = {"transactional_id": name, **who, "verify_only": version > 3, "topics": rows}
    return side.call(ADD_PARTITIONS, version, **fields, v3_and_below_topics=rows, transactions=[one])


@scenario("add_partitions_to_txn", smoke=True)
def added(side: Side) -> None:
    name = transactional_id(side)
    who = init(side, name)
    topic = side.topic()
    add(
        side,
        name,
        who,
        side.version,
        [{"name": topic, "partitions": [0, 9]}, {"name": "absent", "partitions": [0]}],
    )
    add(side, name, who, side.version, [{"name": topic, "partitions": [0]}])
    add(side, name, {**who, "producer_epoch": who["producer_epoch"] + 1}, side.version)
    add(side, name, {**who, "producer_id": 987654}, side.version)
    add(side, name + "-absent", who, side.version)
    add(side, "", who, side.version)


@scenario("add_offsets_to_txn", smoke=True)
def offsets_added(side: Side) -> None:
    name = transactional_id(side)
    who = init(side, name)
    side.ask(transactional_id=name, **who, group_id=side.label)
    side.ask(transactional_id=name, **who, group_id="")
    side.ask(transactional_id=name, producer_id=987654, producer_epoch=0, group_id=side.label)
    side.ask(transactional_id=name, producer_id=who["producer_id"], producer_epoch=7, group_id=side.label)
    side.ask(transactional_id="", **who, group_id=side.label)


def end(side: Side, name: str, who: dict[str, int], committed: bool, version: int | None = None) -> Any:
    return side.call(
        END, side.version if version is None else version, transactional_id=name, **who, committed=committed
    )


@scenario("end_txn")
def ends(side: Side) -> None:
    name = transactional_id(side)
    who = init(side, name)
    end(side, name, who, True)
    end(side, name, who, False)
    topic = side.topic()
    add(side, name, who, 3, [{"name": topic, "partitions": [0]}])
    end(side, name, {**who, "producer_epoch": who["producer_epoch"] + 1}, True)
    end(side, name, {**who, "producer_id": 987654}, True)
    end(side, name + "-absent", who, True)


def write(side: Side, name: str, who: dict[str, int], topic: str, sequence: int, version: int = 11) -> None:
    data = batch(
        attributes=TRANSACTIONAL,
        base_sequence=sequence,
        producer_id=who["producer_id"],
        producer_epoch=who["producer_epoch"],
    )
    partition = {"index": 0, "records": data}
    side.call(
        0,
        version,
        transactional_id=name,
        acks=-1,
        timeout=5000,
        topic_data=[{"name": topic, "topic_id": side.topic_id(topic), "partition_data": [partition]}],
    )


@scenario("end_txn", smoke=True)
def written_and_ended(side: Side) -> None:
    name = transactional_id(side)
    topic = side.topic()
    modern = side.version > 4
    for committed in (True, False):
        who = init(side, name)
        if not modern:
            add(side, name, who, 3, [{"name": topic, "partitions": [0]}])
        write(side, name, who, topic, 0, 12 if modern else 11)
        end(side, name, who, committed)
        end(side, name, who, committed)
    ready = {
        "replica_id": -1,
        "isolation_level": 1,
        "topics": [{"name": topic, "partitions": [{"partition_index": 0, "timestamp": -1}]}],
    }
    side.until(2, 6, lambda answer: answer["topics"][0]["partitions"][0]["offset"] == 4, **ready)
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20}
    topics = [{"topic": topic, "topic_id": side.topic_id(topic), "partitions": [partition]}]
    side.call(FETCH, 12, replica_id=-1, max_wait=10, min_bytes=0, isolation_level=1, topics=topics)


@scenario("txn_offset_commit", smoke=True)
def offsets_committed(side: Side) -> None:
    name = transactional_id(side)
    side.await_coordinator(side.label)
    who = init(side, name)
    if side.version < 5:
        side.call(ADD_OFFSETS, 3, transactional_id=name, **who, group_id=side.label)
    one = {
        "partition_index": 0,
        "committed_offset": 4,
        "committed_leader_epoch": -1,
        "committed_metadata": "m",
    }
    topics = [{"name": "events", "partitions": [one, {**one, "partition_index": 9}]}]
    common = {"transactional_id": name, "group_id": side.label, "topics": topics}
    side.ask(**common, **who, generation_id=-1, member_id="")
    side.ask(**common, producer_id=987654, producer_epoch=0, generation_id=-1, member_id="")
    side.ask(**common, producer_id=who["producer_id"], producer_epoch=9, generation_id=-1, member_id="")
    side.ask(**common, **who, generation_id=3, member_id="made-up")
    side.call(
        9, 7, group_id=side.label, topics=[{"name": "events", "partition_indexes": [0]}], require_stable=True
    )
    side.call(
        9, 7, group_id=side.label, topics=[{"name": "events", "partition_indexes": [0]}], require_stable=False
    )


@scenario("write_txn_markers", smoke=True)
def markers(side: Side) -> None:
    topic = side.topic()
    who = side.producer()
    for name, index, epoch in ((topic, 0, 0), (topic, 9, 0), ("absent", 0, 0)):
        row = {
            **who,
            "transaction_result": False,
            "topics": [{"name": name, "partition_indexes": [index]}],
            "coordinator_epoch": epoch,
        }
        side.ask(markers=[row])


@scenario("describe_transactions", smoke=True)
def descriptions(side: Side) -> None:
    name = transactional_id(side)
    who = init(side, name)
    topic = side.topic()
    add(side, name, who, 3, [{"name": topic, "partitions": [0]}])
    side.ask(transactional_ids=[name])
    side.ask(transactional_ids=[])


@scenario("list_transactions", smoke=True)
def lists(side: Side) -> None:
    name = transactional_id(side)
    init(side, name)
    for more in (
        {},
        {"state_filters": ["Empty"]},
        {"state_filters": ["NoSuch"]},
        {"producer_id_filters": [-5]},
        {"state_filters": ["Ongoing"]},
    ):
        answer = side.quietly(66, side.version, **more)
        mine = [row for row in answer.pop("transaction_states") if row["transactional_id"] == name]
        side.note(f"{more}", {**answer, "mine": mine})


@scenario("list_transactions", 2)
def matching(side: Side) -> None:
    name = transactional_id(side)
    init(side, name)
    for pattern in (f"{name}.*", "[", "", None):
        answer = side.quietly(66, side.version, transactional_id_pattern=pattern)
        mine = [row for row in answer.pop("transaction_states") if row["transactional_id"] == name]
        side.note(f"{pattern}", {**answer, "mine": mine})


@scenario("describe_producers", smoke=True)
def producers(side: Side) -> None:
    topic = side.topic()
    who = side.producer()
    side.produce(topic, batch(base_sequence=0, **who))
    side.ask(
        topics=[{"name": topic, "partition_indexes": [0, 9]}, {"name": "absent", "partition_indexes": [0]}]
    )
    side.ask(topics=[])
