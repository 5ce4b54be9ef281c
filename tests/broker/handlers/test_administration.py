"""What administrators and their user interfaces ask of a broker without security, quotas or other brokers."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.topics.commands import CreateTopics, NewTopic
from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.alter_replica_log_dirs import (
    AlterReplicaLogDir,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirTopic,
)
from protocol.messages.create_acls import AclCreation, CreateAclsRequest
from protocol.messages.delete_acls import DeleteAclsFilter, DeleteAclsRequest
from protocol.messages.describe_acls import DescribeAclsRequest
from protocol.messages.describe_client_quotas import ComponentData, DescribeClientQuotasRequest
from protocol.messages.describe_quorum import DescribeQuorumRequest, PartitionData, TopicData
from protocol.messages.describe_user_scram_credentials import DescribeUserScramCredentialsRequest, UserName
from protocol.messages.unregister_broker import UnregisterBrokerRequest
from tests.broker.handlers.stand import StandIn

E = ErrorCode
NO_AUTHORIZER = (E.SECURITY_DISABLED, "No Authorizer is configured.")


@pytest.fixture
def stand(tmp_path: Path) -> StandIn:
    stand = StandIn(log_dirs=str(tmp_path))
    stand.catalog.submit(CreateTopics([NewTopic("t", stand.new_id(), 2)]))
    return stand


@pytest.mark.parametrize("version", range(4))
def test_acls_without_an_authorizer(stand: StandIn, version: int) -> None:
    described = stand.call(ApiKey.DESCRIBE_ACLS, version, DescribeAclsRequest())
    assert (described.error_code, described.error_message) == (
        E.SECURITY_DISABLED,
        "No Authorizer is configured on the broker",
    )
    created = stand.call(
        ApiKey.CREATE_ACLS, version, CreateAclsRequest(creations=[AclCreation(), AclCreation()])
    )
    assert [(r.error_code, r.error_message) for r in created.results] == [NO_AUTHORIZER] * 2
    deleted = stand.call(ApiKey.DELETE_ACLS, version, DeleteAclsRequest(filters=[DeleteAclsFilter()]))
    assert [(r.error_code, r.error_message) for r in deleted.filter_results] == [NO_AUTHORIZER]


@pytest.mark.parametrize("version", range(3))
def test_the_quorum_is_this_broker(stand: StandIn, version: int) -> None:
    topic = TopicData(topic_name="__cluster_metadata", partitions=[PartitionData(partition_index=0)])
    answer = stand.call(ApiKey.DESCRIBE_QUORUM, version, DescribeQuorumRequest(topics=[topic]))
    partition = answer.topics[0].partitions[0]
    assert (answer.error_code, partition.error_code, partition.leader_id) == (0, 0, 1)
    (voter,) = partition.current_voters
    assert voter.replica_id == 1
    assert partition.high_watermark == voter.log_end_offset == stand.catalog.next_offset > 0
    if version >= 2:
        assert [node.node_id for node in answer.nodes] == [1]


@pytest.mark.parametrize(("name", "index"), [("t", 0), ("__cluster_metadata", 1)])
def test_other_partitions_have_no_quorum(stand: StandIn, name: str, index: int) -> None:
    topic = TopicData(topic_name=name, partitions=[PartitionData(partition_index=index)])
    answer = stand.call(ApiKey.DESCRIBE_QUORUM, 2, DescribeQuorumRequest(topics=[topic]))
    assert answer.topics[0].partitions[0].error_code == E.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("version", range(3))
def test_there_is_one_log_directory(stand: StandIn, version: int, tmp_path: Path) -> None:
    topics = [AlterReplicaLogDirTopic(name="t", partitions=[0, 7])]
    codes = {}
    for path in (str(tmp_path), str(tmp_path / "other")):
        asked = AlterReplicaLogDirsRequest(dirs=[AlterReplicaLogDir(path=path, topics=topics)])
        (result,) = stand.call(ApiKey.ALTER_REPLICA_LOG_DIRS, version, asked).results
        codes[path] = [partition.error_code for partition in result.partitions]
    assert list(codes.values()) == [[0, E.UNKNOWN_TOPIC_OR_PARTITION], [E.LOG_DIR_NOT_FOUND] * 2]


@pytest.mark.parametrize(
    ("broker_id", "error"),
    [(1, E.INVALID_REQUEST), (2, E.BROKER_ID_NOT_REGISTERED), (-1, E.BROKER_ID_NOT_REGISTERED)],
)
def test_no_broker_can_be_forgotten(stand: StandIn, broker_id: int, error: ErrorCode) -> None:
    answer = stand.call(ApiKey.UNREGISTER_BROKER, 0, UnregisterBrokerRequest(broker_id=broker_id))
    assert answer.error_code == error and answer.error_message


def test_nobody_has_scram_credentials(stand: StandIn) -> None:
    def ask(*names: str) -> list[ErrorCode]:
        request = DescribeUserScramCredentialsRequest(users=[UserName(name=name) for name in names])
        answer = stand.call(ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS, 0, request)
        return [result.error_code for result in answer.results]

    assert ask() == []
    assert ask("alice", "bob", "bob") == [E.RESOURCE_NOT_FOUND, E.DUPLICATE_RESOURCE]


@pytest.mark.parametrize("version", range(2))
@pytest.mark.parametrize(
    ("components", "error"),
    [
        ([], E.NONE),
        ([("user", 2, None)], E.NONE),
        ([("user", 0, "alice"), ("client-id", 1, None)], E.NONE),
        ([("user", 0, None)], E.INVALID_REQUEST),
        ([("user", 1, "alice")], E.INVALID_REQUEST),
        ([("user", 9, None)], E.INVALID_REQUEST),
        ([("", 2, None)], E.INVALID_REQUEST),
        ([("user", 2, None), ("user", 2, None)], E.INVALID_REQUEST),
        ([("user", 2, None), ("ip", 2, None)], E.INVALID_REQUEST),
        ([("planet", 2, None)], E.UNSUPPORTED_VERSION),
    ],
)
def test_no_quotas_are_set(
    stand: StandIn, version: int, components: list[tuple[str, int, str | None]], error: ErrorCode
) -> None:
    rows = [ComponentData(entity_type=kind, match_type=how, match=match) for kind, how, match in components]
    answer = stand.call(ApiKey.DESCRIBE_CLIENT_QUOTAS, version, DescribeClientQuotasRequest(components=rows))
    assert answer.error_code == error
    assert answer.entries == (None if error else [])
