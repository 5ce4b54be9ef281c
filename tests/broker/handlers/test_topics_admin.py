"""CreateTopics, DeleteTopics, CreatePartitions, DescribeTopicPartitions and DeleteRecords at every version."""

from __future__ import annotations

import pytest

from broker.config_topics import TOPIC_SETTINGS
from broker.handlers import delete_records
from broker.request import Request
from broker.security.operations import Resource, authorized_operations
from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from protocol.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopic,
)
from protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from protocol.messages.describe_topic_partitions import Cursor, DescribeTopicPartitionsRequest, TopicRequest
from protocol.records import Record, build, parse_batches
from protocol.schema import ZERO_UUID
from tests.broker.handlers.stand import StandIn
from tests.broker.topics.fakes import NOW_MS
from wal.checkpoint import TopicPartition, read_offsets
from wal.errors import DiskFull
from wal.layout import LOG_START_CHECKPOINT

E = ErrorCode


def _create(
    stand: StandIn, name: str, partitions: int = 1, version: int = 7, **settings: str
) -> CreatableTopic:
    configs = [
        CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in settings.items()
    ]
    topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, configs=configs)
    (result,) = stand.call(ApiKey.CREATE_TOPICS, version, CreateTopicsRequest(topics=[topic])).topics
    assert result.error_code == E.NONE, result
    return result  # type: ignore[no-any-return]


@pytest.fixture
def stand() -> StandIn:
    stand = StandIn()
    for name, partitions in (("a", 2), ("b", 3), ("c", 1)):
        _create(stand, name, partitions)
    return stand


@pytest.mark.parametrize("version", range(8))
def test_create_topics(version: int) -> None:
    stand = StandIn()
    topics = [
        CreatableTopic(
            name="t",
            num_partitions=3,
            replication_factor=1,
            configs=[CreatableTopicConfig(name="retention.ms", value="5")],
        ),
        CreatableTopic(
            name="manual",
            num_partitions=-1,
            replication_factor=-1,
            assignments=[CreatableReplicaAssignment(partition_index=0, broker_ids=[1])],
        ),
        CreatableTopic(name="bad/name", num_partitions=1, replication_factor=1),
        CreatableTopic(name="wide", num_partitions=1, replication_factor=3),
    ]
    response = stand.call(ApiKey.CREATE_TOPICS, version, CreateTopicsRequest(topics=topics))
    created, manual, bad, wide = response.topics
    assert [topic.name for topic in response.topics] == ["t", "manual", "bad/name", "wide"]
    assert (created.error_code, manual.error_code) == (E.NONE, E.NONE)
    assert bad.error_code == E.INVALID_TOPIC_EXCEPTION
    assert wide.error_code == E.INVALID_REPLICATION_FACTOR
    assert (bad.error_message is not None) == (version >= 1)
    assert stand.catalog.topics["t"].partition_count == 3
    assert stand.catalog.topics["t"].config.retention_ms == 5
    if version >= 5:
        assert (created.num_partitions, created.replication_factor) == (3, 1)
        configs = {config.name: (config.value, config.config_source) for config in created.configs}
        assert set(configs) == set(TOPIC_SETTINGS)
        assert configs["retention.ms"] == ("5", 1)
        assert configs["cleanup.policy"] == ("delete", 5)
        assert bad.configs == []
    expected_id = stand.catalog.topics["t"].topic_id if version >= 7 else ZERO_UUID
    assert created.topic_id == expected_id


@pytest.mark.parametrize("version", range(7))
def test_delete_topics(stand: StandIn, version: int) -> None:
    stand.produce("a", 0, 1)
    if version >= 6:
        by_id = stand.catalog.topics["b"].topic_id
        topics = [DeleteTopicState(name="a"), DeleteTopicState(topic_id=by_id), DeleteTopicState(name="no")]
        request = DeleteTopicsRequest(topics=topics)
    else:
        request = DeleteTopicsRequest(topic_names=["a", "b", "no"])
    a, b, no = stand.call(ApiKey.DELETE_TOPICS, version, request).responses
    assert [(a.name, a.error_code), (b.name, b.error_code)] == [("a", E.NONE), ("b", E.NONE)]
    assert (no.name, no.error_code) == ("no", E.UNKNOWN_TOPIC_OR_PARTITION)
    assert list(stand.catalog.topics) == ["c"]
    assert not stand.storage.exists("/floe/a-0")


@pytest.mark.parametrize(("version", "code"), [(0, E.INVALID_REQUEST), (3, E.TOPIC_DELETION_DISABLED)])
def test_delete_topics_disabled(version: int, code: ErrorCode) -> None:
    stand = StandIn(delete_topic_enable="false")
    _create(stand, "t")
    request = DeleteTopicsRequest(topic_names=["t"])
    assert stand.call(ApiKey.DELETE_TOPICS, version, request).responses[0].error_code == code
    assert "t" in stand.catalog.topics


def test_a_topic_made_again_is_empty(stand: StandIn) -> None:
    stand.produce("a", 0, 3)
    stand.call(ApiKey.DELETE_TOPICS, 5, DeleteTopicsRequest(topic_names=["a"]))
    _create(stand, "a")
    partition = stand.catalog.topics["a"].partition(0)
    assert partition is not None
    assert partition.log.log_end_offset == 0


@pytest.mark.parametrize("version", range(4))
def test_create_partitions(stand: StandIn, version: int) -> None:
    topics = [
        CreatePartitionsTopic(name="a", count=4, assignments=None),
        CreatePartitionsTopic(name="b", count=4, assignments=[CreatePartitionsAssignment(broker_ids=[1])]),
        CreatePartitionsTopic(name="c", count=1, assignments=None),
        CreatePartitionsTopic(name="no", count=1, assignments=None),
    ]
    results = stand.call(ApiKey.CREATE_PARTITIONS, version, CreatePartitionsRequest(topics=topics)).results
    assert [(result.name, result.error_code) for result in results] == [
        ("a", E.NONE),
        ("b", E.NONE),
        ("c", E.INVALID_PARTITIONS),
        ("no", E.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    assert results[2].error_message == "Topic already has 1 partition(s)."
    assert [topic.partition_count for topic in stand.catalog.topics.values()] == [4, 4, 1]


def test_what_is_named_twice_is_answered_once(stand: StandIn) -> None:
    topic = CreatableTopic(name="d", num_partitions=1, replication_factor=1)
    created = stand.call(ApiKey.CREATE_TOPICS, 7, CreateTopicsRequest(topics=[topic, topic])).topics
    more = CreatePartitionsTopic(name="a", count=4, assignments=None)
    added = stand.call(ApiKey.CREATE_PARTITIONS, 3, CreatePartitionsRequest(topics=[more, more])).results
    deleted = stand.call(ApiKey.DELETE_TOPICS, 5, DeleteTopicsRequest(topic_names=["a", "a"])).responses
    for results in (created, added, deleted):
        (result,) = results
        assert (result.error_code, result.error_message) == (E.INVALID_REQUEST, "Duplicate topic name.")
    assert sorted(stand.catalog.topics) == ["a", "b", "c"]


class TestDescribeTopicPartitions:
    def _describe(
        self, stand: StandIn, *names: str, limit: int = 2000, cursor: tuple[str, int] | None = None
    ) -> tuple[list[tuple[str, int, list[int]]], tuple[str, int] | None]:
        request = DescribeTopicPartitionsRequest(
            topics=[TopicRequest(name=name) for name in names], response_partition_limit=limit
        )
        if cursor is not None:
            request.cursor = Cursor(topic_name=cursor[0], partition_index=cursor[1])
        response = stand.call(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, request)
        topics = [
            (topic.name, topic.error_code, [partition.partition_index for partition in topic.partitions])
            for topic in response.topics
        ]
        following = response.next_cursor
        return topics, None if following is None else (following.topic_name, following.partition_index)

    def test_all(self, stand: StandIn) -> None:
        topics, cursor = self._describe(stand)
        assert topics == [("a", 0, [0, 1]), ("b", 0, [0, 1, 2]), ("c", 0, [0])]
        assert cursor is None

    @pytest.mark.parametrize("limit", range(8))
    def test_pages_add_up(self, stand: StandIn, limit: int) -> None:
        found = []
        cursor = None
        for _ in range(10):
            topics, cursor = self._describe(stand, limit=limit, cursor=cursor)
            found += [(name, index) for name, _, indexes in topics for index in indexes]
            if cursor is None:
                break
        assert found == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("c", 0)]

    def test_named_sorted_and_unknown(self, stand: StandIn) -> None:
        topics, _ = self._describe(stand, "c", "no", "bad/x", "c")
        assert topics == [
            ("bad/x", E.INVALID_TOPIC_EXCEPTION, []),
            ("c", 0, [0]),
            ("no", E.UNKNOWN_TOPIC_OR_PARTITION, []),
        ]

    def test_cursors(self, stand: StandIn) -> None:
        assert self._describe(stand, "a", cursor=("a", -1)) == ([("a", E.INVALID_REQUEST, [])], None)
        assert self._describe(stand, "a", "c", cursor=("b", 1))[0] == [
            ("a", E.INVALID_REQUEST, []),
            ("c", E.INVALID_REQUEST, []),
        ]
        assert self._describe(stand, "a", cursor=("a", 9)) == ([("a", 0, [])], None)
        assert self._describe(stand, cursor=("bb", 1)) == ([("c", 0, [0])], None)

    def test_one_partition(self, stand: StandIn) -> None:
        request = DescribeTopicPartitionsRequest(topics=[TopicRequest(name="c")])
        (topic,) = stand.call(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, request).topics
        (partition,) = topic.partitions
        assert (partition.leader_id, partition.replica_nodes, partition.isr_nodes) == (1, [1], [1])
        assert topic.topic_id == stand.catalog.topics["c"].topic_id
        assert topic.topic_authorized_operations == authorized_operations(Resource.TOPIC) == 3576


@pytest.mark.parametrize("version", range(3))
def test_delete_records(stand: StandIn, version: int) -> None:
    stand.produce("a", 0, 10)
    asked = [(0, 4), (1, 5), (7, 0), (0, -2), (0, -1)]
    topics = [
        DeleteRecordsTopic(
            name="a",
            partitions=[
                DeleteRecordsPartition(partition_index=index, offset=offset) for index, offset in asked
            ],
        ),
        DeleteRecordsTopic(name="no", partitions=[DeleteRecordsPartition(partition_index=0, offset=0)]),
    ]
    a, no = stand.call(ApiKey.DELETE_RECORDS, version, DeleteRecordsRequest(topics=topics)).topics
    assert [(result.error_code, result.low_watermark) for result in a.partitions] == [
        (E.NONE, 4),
        (E.OFFSET_OUT_OF_RANGE, -1),
        (E.UNKNOWN_TOPIC_OR_PARTITION, -1),
        (E.OFFSET_OUT_OF_RANGE, -1),
        (E.NONE, 10),
    ]
    assert no.partitions[0].error_code == E.UNKNOWN_TOPIC_OR_PARTITION


def delete_from_b(stand: StandIn, offset: int) -> list[tuple[int, int]]:
    """Delete from all three partitions of `b` with one request; (error code, low watermark) of each."""
    asked = [DeleteRecordsPartition(partition_index=index, offset=offset) for index in range(3)]
    message = DeleteRecordsRequest(topics=[DeleteRecordsTopic(name="b", partitions=asked)])
    (topic,) = stand.call(ApiKey.DELETE_RECORDS, 2, message).topics
    return [(result.error_code, result.low_watermark) for result in topic.partitions]


def test_all_partitions_of_a_request_share_a_write(stand: StandIn) -> None:
    for index in range(3):
        stand.produce("b", index, 10)
    stand.storage.trace.clear()
    assert delete_from_b(stand, 4) == [(E.NONE, 4)] * 3
    written = [path for operation, path in stand.storage.trace if operation == "rename"]
    assert len(written) == 1
    saved = read_offsets(stand.storage, "/floe", LOG_START_CHECKPOINT)
    assert saved == {TopicPartition("b", index): 4 for index in range(3)}
    assert delete_from_b(stand, 3) == [(E.NONE, 4)] * 3  # never back, and nothing is written
    assert [path for operation, path in stand.storage.trace if operation == "rename"] == written


def test_a_disk_too_full_to_save_log_starts_moves_none(stand: StandIn) -> None:
    for index in range(3):
        stand.produce("b", index, 10)
    delete_from_b(stand, 4)
    stand.storage.capacity = stand.storage.used_bytes()
    assert delete_from_b(stand, 6) == [(E.KAFKA_STORAGE_ERROR, -1)] * 3
    assert [type(failure) for failure in stand.failures] == [DiskFull]
    assert delete_from_b(stand, 4) == [(E.NONE, 4)] * 3


def test_records_that_were_acknowledged_before_their_sync_can_be_deleted(stand: StandIn) -> None:
    """acks=1 tells the offset a moment before the sync."""
    partition = stand.catalog.topics["a"].partition(0)
    assert partition is not None
    data = memoryview(build([Record(timestamp=NOW_MS, value=b"v") for _ in range(10)]))
    partition.log.append(data, parse_batches(data), NOW_MS)
    asked = DeleteRecordsPartition(partition_index=0, offset=10)
    message = DeleteRecordsRequest(topics=[DeleteRecordsTopic(name="a", partitions=[asked])])
    waiting = delete_records.handle(stand, Request(ApiKey.DELETE_RECORDS, 2, 1, "test", message, None))  # type: ignore[arg-type]
    assert not waiting.is_resolved
    stand.flusher.run_round()
    got: list[DeleteRecordsResponse] = []
    waiting.then(got.append)
    (result,) = got[0].topics[0].partitions
    assert (result.error_code, result.low_watermark) == (E.NONE, 10)


def test_delete_records_of_a_compacted_topic() -> None:
    stand = StandIn()
    _create(stand, "t", cleanup_policy="compact")
    topics = [DeleteRecordsTopic(name="t", partitions=[DeleteRecordsPartition(partition_index=0, offset=0)])]
    response = stand.call(ApiKey.DELETE_RECORDS, 2, DeleteRecordsRequest(topics=topics))
    assert response.topics[0].partitions[0].error_code == E.POLICY_VIOLATION
