"""Fetch, ListOffsets, Metadata, ApiVersions, FindCoordinator and InitProducerId by their versions and error codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.handlers import HANDLERS
from protocol.api import PRIVATE_APIS, ApiKey
from protocol.errors import ErrorCode
from protocol.legacy import iterate_message_set
from protocol.messages.api_versions import ApiVersionsRequest
from protocol.messages.find_coordinator import FindCoordinatorRequest
from protocol.messages.init_producer_id import InitProducerIdRequest
from protocol.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from protocol.records import Record, build
from tests.broker.handlers.whole import Whole, with_broker
from tests.faults.wire import NOW_MS, batch, fetch_request

NOT_ASKED = -(2**31)


# --- Fetch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(4, 19))
def test_fetch_in_each_version(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        topic_id = await whole.create("t")
        await whole.produced("t", batch(3))
        message = fetch_request("t", 1)
        message.topics[0].topic_id = topic_id
        topic = (await whole.ask(ApiKey.FETCH, version, message)).responses[0]
        assert (topic.topic_id if version >= 13 else topic.topic) == (topic_id if version >= 13 else "t")
        data = topic.partitions[0]
        assert (data.error_code, data.high_watermark, data.last_stable_offset) == (0, 3, 3)
        assert data.preferred_read_replica == -1 and data.aborted_transactions is None
        assert len(data.records) == len(batch(3))

    with_broker(tmp_path, work)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("codec", [0, 1, 2, 3])
def test_old_fetchers_get_old_formats(tmp_path: Path, version: int, codec: int) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        records = [Record(timestamp=NOW_MS + i, key=b"k", value=b"v%d" % i) for i in range(5)]
        await whole.produced("t", build(records, compression=codec))
        data = (await whole.ask(ApiKey.FETCH, version, fetch_request("t", 2))).responses[0].partitions[0]
        found = [(r.offset, r.value) for r in iterate_message_set(bytes(data.records), 1 << 20)]
        assert [one for one in found if one[0] >= 2] == [(i, b"v%d" % i) for i in range(2, 5)]
        assert data.records[16] == (0 if version < 2 else 1)

    with_broker(tmp_path, work)


def test_zstd_is_not_for_fetchers_who_cannot_know_it(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        await whole.produced("t", batch(compression=4))
        for version in (0, 3):
            data = (await whole.ask(ApiKey.FETCH, version, fetch_request("t"))).responses[0].partitions[0]
            assert data.error_code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE

    with_broker(tmp_path, work)


def test_fetch_by_an_unknown_id(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        message = fetch_request("")
        message.topics[0].topic_id = b"u" * 16
        topic = (await whole.ask(ApiKey.FETCH, 13, message)).responses[0]
        assert topic.topic_id == b"u" * 16
        assert topic.partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID

    with_broker(tmp_path, work)


@pytest.mark.parametrize("version", [9, 11, 12, 17])
def test_a_leader_epoch_from_the_future(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        topic_id = await whole.create("t")
        message = fetch_request("t", current_leader_epoch=5)
        message.topics[0].topic_id = topic_id
        data = (await whole.ask(ApiKey.FETCH, version, message)).responses[0].partitions[0]
        assert data.error_code == ErrorCode.UNKNOWN_LEADER_EPOCH
        assert data.current_leader is None, "only a client that is behind is told the leader"

    with_broker(tmp_path, work)


def test_a_last_fetched_epoch_that_has_not_been(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        topic_id = await whole.create("t")
        await whole.produced("t")
        message = fetch_request("t", last_fetched_epoch=1)
        message.topics[0].topic_id = topic_id
        data = (await whole.ask(ApiKey.FETCH, 13, message)).responses[0].partitions[0]
        assert data.error_code == ErrorCode.OFFSET_OUT_OF_RANGE

    with_broker(tmp_path, work)


def test_read_committed_has_a_list_not_null(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        await whole.produced("t")
        message = fetch_request("t")
        message.isolation_level = 1
        data = (await whole.ask(ApiKey.FETCH, 11, message)).responses[0].partitions[0]
        assert data.aborted_transactions == [] and len(data.records)

    with_broker(tmp_path, work)


# --- ListOffsets -----------------------------------------------------------------------------------------------------


async def offset(whole: Whole, timestamp: int, version: int, **fields: Any) -> Any:
    asked = ListOffsetsPartition(partition_index=fields.pop("partition", 0), timestamp=timestamp, **fields)
    message = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name="t", partitions=[asked])])
    return (await whole.ask(ApiKey.LIST_OFFSETS, version, message)).topics[0].partitions[0]


@pytest.mark.parametrize("version", range(1, 12))
def test_list_offsets_in_each_version(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        records = [Record(timestamp=NOW_MS + 10 * i, value=b"v") for i in (0, 1, 5, 2)]
        await whole.produced("t", build(records))
        epoch = 0 if version >= 4 else -1
        expected = {
            -1: (4, -1, epoch),
            -2: (0, -1, epoch),
            NOW_MS: (0, NOW_MS, epoch),
            NOW_MS + 11: (2, NOW_MS + 50, epoch),
            NOW_MS + 51: (-1, -1, -1),
        }
        for code, since, answer in (
            (-3, 7, (2, NOW_MS + 50, 0)),
            (-4, 8, (0, -1, 0)),
            (-5, 9, (-1, -1, -1)),
            (-6, 11, (-1, -1, -1)),
        ):
            if version >= since:
                expected[code] = answer
            else:
                refused = await offset(whole, code, version)
                assert refused.error_code == ErrorCode.UNSUPPORTED_VERSION
        for timestamp, answer in expected.items():
            found = await offset(whole, timestamp, version)
            assert found.error_code == 0
            assert (found.offset, found.timestamp, found.leader_epoch) == answer, timestamp

    with_broker(tmp_path, work)


def test_list_offsets_version_0(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        await whole.produced("t", batch(4))
        assert (await offset(whole, -1, 0, max_num_offsets=10)).old_style_offsets == [4, 0]
        assert (await offset(whole, -2, 0, max_num_offsets=1)).old_style_offsets == [0]
        for count in (0, -1, -(2**31)):
            assert (await offset(whole, -1, 0, max_num_offsets=count)).old_style_offsets == []

    with_broker(tmp_path, work)


def test_list_offsets_errors(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        for partition in (1, -1, 2**31 - 1):
            assert (await offset(whole, -1, 5, partition=partition)).error_code == unknown
        fenced = await offset(whole, -1, 5, current_leader_epoch=3)
        assert fenced.error_code == ErrorCode.UNKNOWN_LEADER_EPOCH
        assert (await offset(whole, -7, 11)).error_code == ErrorCode.UNSUPPORTED_VERSION
        twice = [ListOffsetsPartition(partition_index=0, timestamp=-1)] * 2
        message = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name="t", partitions=twice)])
        answer = await whole.ask(ApiKey.LIST_OFFSETS, 5, message)
        assert {p.error_code for p in answer.topics[0].partitions} == {ErrorCode.INVALID_REQUEST}

    with_broker(tmp_path, work)


# --- Metadata --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(14))
def test_metadata_in_each_version(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        topic_id = await whole.create("t", partitions=3)
        answer = await whole.ask(
            ApiKey.METADATA, version, MetadataRequest(topics=[MetadataRequestTopic(name="t")])
        )
        (topic,), (node,) = answer.topics, answer.brokers
        assert (topic.error_code, topic.name, len(topic.partitions)) == (0, "t", 3)
        assert [p.leader_id for p in topic.partitions] == [node.node_id] * 3
        assert all(p.isr_nodes == p.replica_nodes == [node.node_id] for p in topic.partitions)
        assert node.host == "127.0.0.1" and node.port > 0
        if version >= 1:
            assert answer.controller_id == node.node_id
        if version >= 2:
            assert answer.cluster_id
        if version >= 10:
            assert topic.topic_id == topic_id
        assert topic.topic_authorized_operations == NOT_ASKED
        everything = MetadataRequest(topics=None if version else [])
        assert "t" in {t.name for t in (await whole.ask(ApiKey.METADATA, version, everything)).topics}
        if version:
            assert (await whole.ask(ApiKey.METADATA, version, MetadataRequest(topics=[]))).topics == []

    with_broker(tmp_path, work)


def test_metadata_by_id(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        topic_id = await whole.create("t")
        for asked, code, name in ((topic_id, 0, "t"), (b"u" * 16, ErrorCode.UNKNOWN_TOPIC_ID, None)):
            message = MetadataRequest(topics=[MetadataRequestTopic(name=None, topic_id=asked)])
            for version in (12, 13):
                (topic,) = (await whole.ask(ApiKey.METADATA, version, message)).topics
                assert (topic.error_code, topic.name, topic.topic_id) == (code, name, asked)
            for version in (10, 11):
                (topic,) = (await whole.ask(ApiKey.METADATA, version, message)).topics
                assert topic.error_code == ErrorCode.INVALID_REQUEST

    with_broker(tmp_path, work)


@pytest.mark.parametrize(("allowed", "enabled"), [(True, True), (True, False), (False, True)])
def test_metadata_creates_topics_when_both_sides_allow(tmp_path: Path, allowed: bool, enabled: bool) -> None:
    async def work(whole: Whole) -> None:
        message = MetadataRequest(
            topics=[MetadataRequestTopic(name="new"), MetadataRequestTopic(name="a/b")],
            allow_auto_topic_creation=allowed,
        )
        new, bad = (await whole.ask(ApiKey.METADATA, 9, message)).topics
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert new.error_code == (0 if allowed and enabled else unknown)
        assert bad.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
        assert set(whole.broker.catalog.topics) >= ({"new"} if allowed and enabled else set())

    with_broker(tmp_path, work, auto_create_topics_enable=str(enabled).lower())


def test_metadata_tells_operations_when_asked(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        message = MetadataRequest(
            topics=None,
            include_topic_authorized_operations=True,
            include_cluster_authorized_operations=True,
        )
        answer = await whole.ask(ApiKey.METADATA, 8, message)
        assert answer.topics[0].topic_authorized_operations > 0
        assert answer.cluster_authorized_operations > 0

    with_broker(tmp_path, work)


# --- the others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(5))
def test_api_versions_tells_the_table(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        message = ApiVersionsRequest(client_software_name="test", client_software_version="1.0")
        answer = await whole.ask(ApiKey.API_VERSIONS, version, message)
        assert answer.error_code == 0
        told = {key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
        assert told == {spec.api: spec.versions for spec in HANDLERS if spec.api not in PRIVATE_APIS}
        if version >= 3:
            assert answer.finalized_features_epoch >= 0

    with_broker(tmp_path, work)


@pytest.mark.parametrize("version", range(7))
@pytest.mark.parametrize(("key_type", "code"), [(0, 0), (1, 0), (9, 42), (-1, 42)])
def test_find_coordinator(tmp_path: Path, version: int, key_type: int, code: int) -> None:
    async def work(whole: Whole) -> None:
        message = FindCoordinatorRequest(key_type=key_type if version else 0)
        if version >= 4:
            message.coordinator_keys = ["g", "h"]
        else:
            message.key = "g"
        answer = await whole.ask(ApiKey.FIND_COORDINATOR, version, message)
        found = answer.coordinators if version >= 4 else [answer]
        if version >= 4:
            assert [one.key for one in found] == ["g", "h"]
        expected = ErrorCode.INVALID_REQUEST if code and version else ErrorCode.NONE
        for one in found:
            assert one.error_code == expected
            assert (one.node_id, one.host) == ((-1, "") if expected else (whole.broker.node_id, "127.0.0.1"))

    with_broker(tmp_path, work)


@pytest.mark.parametrize("version", range(6))
def test_init_producer_id_never_gives_one_twice(tmp_path: Path, version: int) -> None:
    async def ids(whole: Whole, count: int) -> list[int]:
        found = []
        for _ in range(count):
            message = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
            answer = await whole.ask(ApiKey.INIT_PRODUCER_ID, version, message)
            assert (answer.error_code, answer.producer_epoch) == (0, 0)
            found.append(answer.producer_id)
        return found

    given: list[int] = []

    async def work(whole: Whole) -> None:
        given.extend(await ids(whole, 20))

    with_broker(tmp_path, work)
    with_broker(tmp_path, work)
    assert len(set(given)) == 40 and min(given) >= 0
