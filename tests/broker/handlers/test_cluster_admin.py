"""What a cluster of one broker says about itself, at every version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.security.operations import NOT_ASKED
from broker.topics.commands import CreateTopics, NewTopic
from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from protocol.messages.describe_cluster import DescribeClusterRequest
from protocol.messages.describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from protocol.messages.describe_producers import DescribeProducersRequest, TopicRequest
from protocol.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from protocol.messages.list_partition_reassignments import ListPartitionReassignmentsRequest
from protocol.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from tests.broker.handlers.stand import StandIn

E = ErrorCode


@pytest.fixture
def stand(tmp_path: Path) -> StandIn:
    stand = StandIn(log_dirs=str(tmp_path))
    stand.catalog.submit(CreateTopics([NewTopic("t", stand.new_id(), 2), NewTopic("u", stand.new_id(), 1)]))
    return stand


@pytest.mark.parametrize("version", range(3))
def test_describe_cluster(stand: StandIn, version: int) -> None:
    response = stand.call(ApiKey.DESCRIBE_CLUSTER, version, DescribeClusterRequest())
    assert (response.error_code, response.cluster_id, response.controller_id) == (E.NONE, "cluster", 1)
    (broker,) = response.brokers
    assert (broker.broker_id, broker.host, broker.port, broker.rack) == (1, "127.0.0.1", 9092, None)
    assert response.cluster_authorized_operations == NOT_ASKED
    request = DescribeClusterRequest(include_cluster_authorized_operations=True)
    assert stand.call(ApiKey.DESCRIBE_CLUSTER, version, request).cluster_authorized_operations == 8096


@pytest.mark.parametrize(
    ("endpoint_type", "error", "message"),
    [
        (
            2,
            E.MISMATCHED_ENDPOINT_TYPE,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        ),
        (0, E.UNSUPPORTED_ENDPOINT_TYPE, "Unsupported endpoint type 0"),
        (3, E.UNSUPPORTED_ENDPOINT_TYPE, "Unsupported endpoint type 3"),
    ],
)
def test_describe_cluster_of_other_endpoints(
    stand: StandIn, endpoint_type: int, error: ErrorCode, message: str
) -> None:
    response = stand.call(ApiKey.DESCRIBE_CLUSTER, 1, DescribeClusterRequest(endpoint_type=endpoint_type))
    assert (response.error_code, response.error_message) == (error, message)


@pytest.mark.parametrize("version", range(6))
def test_describe_log_dirs(stand: StandIn, version: int, tmp_path: Path) -> None:
    stand.produce("t", 1, 10)
    partition = stand.catalog.topics["t"].partition(1)
    assert partition is not None
    (result,) = stand.call(ApiKey.DESCRIBE_LOG_DIRS, version, DescribeLogDirsRequest(topics=None)).results
    sizes = {
        (topic.name, described.partition_index): described.partition_size
        for topic in result.topics
        for described in topic.partitions
    }
    assert sizes == {("t", 0): 0, ("t", 1): partition.log.size_bytes(), ("u", 0): 0}
    assert sizes["t", 1] > 61
    assert (result.error_code, result.log_dir) == (E.NONE, str(tmp_path))
    if version >= 4:
        disk = os.statvfs(tmp_path)
        assert result.total_bytes == disk.f_blocks * disk.f_frsize
        assert 0 < result.usable_bytes <= result.total_bytes


def test_describe_log_dirs_of_some(stand: StandIn) -> None:
    topics = [
        DescribableLogDirTopic(topic="t", partitions=[0, 7, -1]),
        DescribableLogDirTopic(topic="no", partitions=[0]),
    ]
    (result,) = stand.call(ApiKey.DESCRIBE_LOG_DIRS, 4, DescribeLogDirsRequest(topics=topics)).results
    assert [(topic.name, [p.partition_index for p in topic.partitions]) for topic in result.topics] == [
        ("t", [0])
    ]


@pytest.mark.parametrize("version", range(3))
def test_elect_leaders(stand: StandIn, version: int) -> None:
    topics = [
        TopicPartitions(topic="t", partitions=[0, 7, -1]),
        TopicPartitions(topic="no", partitions=[0]),
    ]
    response = stand.call(ApiKey.ELECT_LEADERS, version, ElectLeadersRequest(topic_partitions=topics))
    t, no = response.replica_election_results
    assert [(result.error_code, result.error_message) for result in t.partition_result] == [
        (E.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition."),
        (E.UNKNOWN_TOPIC_OR_PARTITION, "No such partition as t-7"),
        (E.UNKNOWN_TOPIC_OR_PARTITION, "No such partition as t--1"),
    ]
    assert no.partition_result[0].error_message == "No such topic as no"
    everything = stand.call(ApiKey.ELECT_LEADERS, version, ElectLeadersRequest(topic_partitions=None))
    assert everything.replica_election_results == []


def test_elect_leaders_of_unknown_type(stand: StandIn) -> None:
    request = ElectLeadersRequest(
        election_type=2, topic_partitions=[TopicPartitions(topic="t", partitions=[0])]
    )
    response = stand.call(ApiKey.ELECT_LEADERS, 2, request)
    (result,) = response.replica_election_results[0].partition_result
    assert response.error_code == result.error_code == E.INVALID_REQUEST
    assert result.error_message == "Unknown election type 2"


@pytest.mark.parametrize("version", range(2))
@pytest.mark.parametrize(
    ("index", "replicas", "error", "message"),
    [
        (0, None, E.NO_REASSIGNMENT_IN_PROGRESS, None),
        (1, [1], E.NONE, None),
        (7, [1], E.UNKNOWN_TOPIC_OR_PARTITION, "Unable to find partition t:7."),
        (
            0,
            [2],
            E.INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes broker 2, but no such broker is registered.",
        ),
        (
            0,
            [],
            E.INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes an empty replica list.",
        ),
    ],
)
def test_alter_partition_reassignments(
    stand: StandIn,
    version: int,
    index: int,
    replicas: list[int] | None,
    error: ErrorCode,
    message: str | None,
) -> None:
    topics = [
        ReassignableTopic(
            name="t", partitions=[ReassignablePartition(partition_index=index, replicas=replicas)]
        ),
        ReassignableTopic(name="no", partitions=[ReassignablePartition(partition_index=0, replicas=[1])]),
    ]
    request = AlterPartitionReassignmentsRequest(topics=topics)
    t, no = stand.call(ApiKey.ALTER_PARTITION_REASSIGNMENTS, version, request).responses
    assert (t.partitions[0].error_code, t.partitions[0].error_message) == (error, message)
    assert no.partitions[0].error_message == "Unable to find a topic named no."


def test_list_partition_reassignments(stand: StandIn) -> None:
    request = ListPartitionReassignmentsRequest(topics=None)
    response = stand.call(ApiKey.LIST_PARTITION_REASSIGNMENTS, 0, request)
    assert (response.error_code, response.topics) == (E.NONE, [])


def test_describe_producers(stand: StandIn) -> None:
    stand.produce("t", 0, 3, producer_id=42, producer_epoch=1, base_sequence=0)
    topics = [
        TopicRequest(name="t", partition_indexes=[0, 1, 7]),
        TopicRequest(name="no", partition_indexes=[0]),
        TopicRequest(name="bad/x", partition_indexes=[0]),
    ]
    response = stand.call(ApiKey.DESCRIBE_PRODUCERS, 0, DescribeProducersRequest(topics=topics))
    t, no, bad = (topic.partitions for topic in response.topics)
    (producer,) = t[0].active_producers
    assert (producer.producer_id, producer.producer_epoch, producer.last_sequence) == (42, 1, 2)
    assert producer.current_txn_start_offset == -1
    assert t[1].active_producers == []
    assert (t[2].error_code, t[2].error_message) == (E.UNKNOWN_TOPIC_OR_PARTITION, None)
    assert no[0].error_message == "This server does not host this topic-partition."
    assert bad[0].error_code == E.INVALID_TOPIC_EXCEPTION


@pytest.mark.parametrize("version", range(5))
def test_offset_for_leader_epoch(stand: StandIn, version: int) -> None:
    stand.produce("t", 0, 5)
    asked = [(0, -1, 0), (1, -1, 0), (7, -1, 0), (0, -1, 9), (0, -1, -1)]
    if version >= 2:
        asked += [(0, 5, 0), (0, 0, 0)]
    partitions = [
        OffsetForLeaderPartition(partition=index, current_leader_epoch=current, leader_epoch=epoch)
        for index, current, epoch in asked
    ]
    request = OffsetForLeaderEpochRequest(topics=[OffsetForLeaderTopic(topic="t", partitions=partitions)])
    (topic,) = stand.call(ApiKey.OFFSET_FOR_LEADER_EPOCH, version, request).topics
    expected = [
        (E.NONE, 0, 5),
        (E.NONE, 0, 0),
        (E.UNKNOWN_TOPIC_OR_PARTITION, -1, -1),
        (E.NONE, -1, -1),
        (E.NONE, -1, -1),
        (E.UNKNOWN_LEADER_EPOCH, -1, -1),
        (E.NONE, 0, 5),
    ]
    assert [(entry.error_code, entry.end_offset) for entry in topic.partitions] == [
        (error, end_offset) for error, _, end_offset in expected[: len(asked)]
    ]
    if version >= 1:
        assert [entry.leader_epoch for entry in topic.partitions] == [
            epoch for _, epoch, _ in expected[: len(asked)]
        ]
