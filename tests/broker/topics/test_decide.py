"""The catalog's rules: codes and sentences are what Kafka 4.3.1 answered to the same requests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broker.topics.commands import (
    APPEND,
    DELETE,
    SET,
    SUBTRACT,
    AllocateProducerIds,
    Alteration,
    AlterSettings,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    MorePartitions,
    NewTopic,
    ReplaceSettings,
    Result,
)
from broker.topics.decide import decide
from broker.topics.state import BROKER, CLIENT_METRICS, GROUP, TOPIC
from protocol.errors import ErrorCode
from protocol.schema import ZERO_UUID
from tests.broker.topics.fakes import NOW_MS, Harness

E = ErrorCode
ID = bytes(range(16))


@pytest.fixture
def harness() -> Harness:
    harness = Harness()
    harness.run(CreateTopics([harness.topic("t1", 2, retention_ms="1000"), harness.topic("t.1")]))
    return harness


def _answer(result: Result) -> tuple[ErrorCode, str | None]:
    return result.error, result.message


class TestCreateTopics:
    @pytest.mark.parametrize(
        ("topic", "error", "message"),
        [
            (NewTopic("t1", ID, 1, 1), E.TOPIC_ALREADY_EXISTS, "Topic 't1' already exists."),
            (
                NewTopic("a/b", ID, 1, 1),
                E.INVALID_TOPIC_EXCEPTION,
                "Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, "
                "'.', '_' and '-'",
            ),
            (
                NewTopic("t_1", ID, 1, 1),
                E.INVALID_TOPIC_EXCEPTION,
                "Topic 't_1' collides with existing topic: t.1",
            ),
            (
                NewTopic("n", ID, 0, 1),
                E.INVALID_PARTITIONS,
                "Number of partitions was set to an invalid non-positive value.",
            ),
            (
                NewTopic("n", ID, 1, 0),
                E.INVALID_REPLICATION_FACTOR,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ),
            (
                NewTopic("n", ID, 1, 2),
                E.INVALID_REPLICATION_FACTOR,
                "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached "
                "because only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
            ),
            (
                NewTopic("n", ID, 10_001, 1),
                E.POLICY_VIOLATION,
                "Excessively large number of partitions per request.",
            ),
            (
                NewTopic("__cluster_metadata", ID, 1, 1),
                E.INVALID_REQUEST,
                "Creation of internal topic __cluster_metadata is prohibited.",
            ),
            (
                NewTopic("n", ID, settings=[("nope", "1")]),
                E.INVALID_CONFIG,
                "Unknown topic config name: nope",
            ),
            (
                NewTopic("n", ID, settings=[("retention.ms", None)]),
                E.INVALID_CONFIG,
                "Null value not supported for topic configs: retention.ms",
            ),
            (
                NewTopic(
                    "n", ID, settings=[("min.compaction.lag.ms", "100"), ("max.compaction.lag.ms", "10")]
                ),
                E.INVALID_CONFIG,
                "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (10)",
            ),
            (
                NewTopic("n", ID, settings=[("remote.storage.enable", "true")]),
                E.INVALID_CONFIG,
                "Tiered Storage functionality is disabled in the broker. "
                "Topic cannot be configured with remote log storage.",
            ),
        ],
    )
    def test_refused(self, harness: Harness, topic: NewTopic, error: ErrorCode, message: str) -> None:
        outcome = decide(harness.catalog.state, CreateTopics([topic]), NOW_MS)
        assert outcome.records == []
        assert _answer(outcome.results[0]) == (error, message)

    @pytest.mark.parametrize(
        ("assignments", "message"),
        [
            ([(0, [1]), (2, [1])], "partitions should be a consecutive 0-based integer sequence"),
            ([(1, [1])], "partitions should be a consecutive 0-based integer sequence"),
            ([(-1, [1])], "partitions should be a consecutive 0-based integer sequence"),
            (
                [(0, [2])],
                "The manual partition assignment includes broker 2, but no such broker is registered.",
            ),
            ([(0, [1, 1])], "The manual partition assignment includes the broker 1 more than once."),
            ([(0, [])], "The manual partition assignment includes an empty replica list."),
            ([(0, [1]), (0, [1])], "Found multiple manual partition assignments for partition 0"),
        ],
    )
    def test_assignments_refused(
        self, harness: Harness, assignments: Sequence[tuple[int, Sequence[int]]], message: str
    ) -> None:
        result = harness.one(CreateTopics([NewTopic("n", ID, assignments=assignments)]))
        assert _answer(result) == (E.INVALID_REPLICA_ASSIGNMENT, message)

    def test_assignments_exclude_counts(self, harness: Harness) -> None:
        result = harness.one(CreateTopics([NewTopic("n", ID, 1, -1, [(0, [1])])]))
        assert _answer(result) == (
            E.INVALID_REQUEST,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        )
        result = harness.one(CreateTopics([NewTopic("n", ID, -1, 1, [(0, [1])])]))
        assert _answer(result) == (
            E.INVALID_REQUEST,
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        )

    def test_assignments_taken(self, harness: Harness) -> None:
        assert harness.one(CreateTopics([NewTopic("n", ID, assignments=[(1, [1]), (0, [1])])])).is_success
        assert harness.catalog.topics["n"].partition_count == 2

    def test_defaults(self) -> None:
        harness = Harness(num_partitions="3")
        created = harness.one(CreateTopics([NewTopic("n", ID)])).value
        assert (created.topic_id, created.num_partitions, created.settings) == (ID, 3, {})
        topic = harness.catalog.topics["n"]
        assert topic is harness.catalog.by_id[ID]
        assert topic.partition_count == 3

    def test_each_topic_for_itself(self, harness: Harness) -> None:
        names = ["dup", "ok", "dup", "t1", "x.y", "x_y"]
        results = harness.run(CreateTopics([harness.topic(name) for name in names]))
        assert [result.error for result in results] == [
            E.INVALID_REQUEST,
            E.NONE,
            E.INVALID_REQUEST,
            E.TOPIC_ALREADY_EXISTS,
            E.NONE,
            E.INVALID_TOPIC_EXCEPTION,
        ]
        assert results[0].message == "Duplicate topic name."
        assert sorted(harness.catalog.topics) == ["ok", "t.1", "t1", "x.y"]

    def test_validate_only_changes_nothing(self, harness: Harness) -> None:
        end_offset = harness.log.log_end_offset
        result = harness.one(CreateTopics([harness.topic("n", 3)], validate_only=True))
        assert result.is_success
        assert result.value.num_partitions == 3
        assert "n" not in harness.catalog.topics
        assert harness.log.log_end_offset == end_offset

    def test_name_is_free_again_after_deletion(self, harness: Harness) -> None:
        harness.run(DeleteTopics([("t.1", ZERO_UUID)]))
        assert harness.one(CreateTopics([harness.topic("t_1")])).is_success


class TestDeleteTopics:
    def test_by_name_and_by_id(self, harness: Harness) -> None:
        t1, t_1 = harness.catalog.topics["t1"], harness.catalog.topics["t.1"]
        results = harness.run(DeleteTopics([("t1", ZERO_UUID), (None, t_1.topic_id)]))
        assert [result.value for result in results] == [("t1", t1.topic_id), ("t.1", t_1.topic_id)]
        assert harness.catalog.topics == harness.catalog.by_id == {}
        assert harness.deleted == ["t1", "t.1"]
        assert harness.catalog.state.settings == {}

    def test_refused(self, harness: Harness) -> None:
        t1 = harness.catalog.topics["t1"].topic_id
        for topics, error, message in (
            (
                [("no", ZERO_UUID)],
                E.UNKNOWN_TOPIC_OR_PARTITION,
                "This server does not host this topic-partition.",
            ),
            (
                [("a/b", ZERO_UUID)],
                E.UNKNOWN_TOPIC_OR_PARTITION,
                "This server does not host this topic-partition.",
            ),
            ([(None, ID)], E.UNKNOWN_TOPIC_ID, "This server does not host this topic ID."),
            ([(None, ZERO_UUID)], E.INVALID_REQUEST, "Neither topic name nor id were specified."),
            ([("t1", t1)], E.INVALID_REQUEST, "You may not specify both topic name and topic id."),
            ([("t1", ZERO_UUID)] * 2, E.INVALID_REQUEST, "Duplicate topic name."),
            ([(None, t1)] * 2, E.INVALID_REQUEST, "Duplicate topic id."),
        ):
            for result in harness.run(DeleteTopics(topics)):
                assert _answer(result) == (error, message)
        results = harness.run(DeleteTopics([("t1", ZERO_UUID), (None, t1)]))
        assert [result.error for result in results] == [E.INVALID_REQUEST, E.INVALID_REQUEST]

    def test_disabled(self) -> None:
        harness = Harness(delete_topic_enable="false")
        harness.run(CreateTopics([harness.topic("t")]))
        assert harness.one(DeleteTopics([("t", ZERO_UUID)])).error == E.TOPIC_DELETION_DISABLED


class TestCreatePartitions:
    @pytest.mark.parametrize(
        ("topic", "error", "message"),
        [
            (MorePartitions("no", 3), E.UNKNOWN_TOPIC_OR_PARTITION, None),
            (MorePartitions("t1", 2), E.INVALID_PARTITIONS, "Topic already has 2 partition(s)."),
            (
                MorePartitions("t1", 1),
                E.INVALID_PARTITIONS,
                "The topic t1 currently has 2 partition(s); 1 would not be an increase.",
            ),
            (
                MorePartitions("t1", -1),
                E.INVALID_PARTITIONS,
                "The topic t1 currently has 2 partition(s); -1 would not be an increase.",
            ),
            (
                MorePartitions("t1", 4, [[1]]),
                E.INVALID_REPLICA_ASSIGNMENT,
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
            ),
            (
                MorePartitions("t1", 3, [[2]]),
                E.INVALID_REPLICA_ASSIGNMENT,
                "The manual partition assignment includes broker 2, but no such broker is registered.",
            ),
            (
                MorePartitions("t1", 3, [[]]),
                E.INVALID_REPLICA_ASSIGNMENT,
                "The manual partition assignment includes an empty replica list.",
            ),
            (
                MorePartitions("t1", 20_000),
                E.POLICY_VIOLATION,
                "Excessively large number of partitions per request.",
            ),
        ],
    )
    def test_refused(
        self, harness: Harness, topic: MorePartitions, error: ErrorCode, message: str | None
    ) -> None:
        assert _answer(harness.one(CreatePartitions([topic]))) == (error, message)
        assert harness.catalog.topics["t1"].partition_count == 2

    def test_added(self, harness: Harness) -> None:
        assert harness.one(CreatePartitions([MorePartitions("t1", 4, [[1], [1]])])).is_success
        assert harness.one(CreatePartitions([MorePartitions("t1", 9)], validate_only=True)).is_success
        topic = harness.catalog.topics["t1"]
        assert topic.partition_count == 4
        assert topic.partition(3) is not None
        assert topic.partition(4) is None
        assert topic.partition(-1) is None


def _alter(
    harness: Harness, resource_type: int, name: str, *operations: tuple[str, int, str | None]
) -> Result:
    return harness.one(AlterSettings([Alteration(resource_type, name, operations)]))


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "operations", "error", "message"),
        [
            (
                "t1",
                [("retention.ms", APPEND, "7")],
                E.INVALID_CONFIG,
                "Can't APPEND to key retention.ms because its type is not LIST.",
            ),
            (
                "t1",
                [("nope", SUBTRACT, "7")],
                E.INVALID_CONFIG,
                "Can't SUBTRACT to key nope because its type is not LIST.",
            ),
            ("t1", [("nope", SET, "7")], E.INVALID_CONFIG, "Unknown topic config name: nope"),
            (
                "no",
                [("retention.ms", SET, "7")],
                E.UNKNOWN_TOPIC_OR_PARTITION,
                "The topic 'no' does not exist.",
            ),
            ("", [("retention.ms", SET, "7")], E.INVALID_REQUEST, "Default topic resources are not allowed."),
            (
                "t1",
                [("cleanup.policy", APPEND, "x")],
                E.INVALID_CONFIG,
                "Invalid value x for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "t1",
                [("retention.ms", SET, None)],
                E.INVALID_REQUEST,
                "Null value not supported for : retention.ms",
            ),
            (
                "t1",
                [("retention.ms", SET, "7"), ("retention.ms", SET, "8")],
                E.INVALID_REQUEST,
                "Error due to duplicate config keys",
            ),
            ("t1", [("retention.ms", 9, "7")], E.INVALID_REQUEST, "Unknown operation type 9"),
        ],
    )
    def test_topic_refused(
        self,
        harness: Harness,
        name: str,
        operations: list[tuple[str, int, str | None]],
        error: ErrorCode,
        message: str,
    ) -> None:
        assert _answer(_alter(harness, TOPIC, name, *operations)) == (error, message)
        assert harness.catalog.topics["t1"].config.retention_ms == 1000

    def test_operations(self, harness: Harness) -> None:
        config = harness.catalog.topics["t1"].config
        assert _alter(harness, TOPIC, "t1", ("cleanup.policy", APPEND, "compact")).is_success
        topic = harness.catalog.topics["t1"]
        assert topic.config is not config
        assert topic.config.cleanup_policy == ["delete", "compact"]
        assert _alter(harness, TOPIC, "t1", ("cleanup.policy", SUBTRACT, "delete,nothere")).is_success
        assert topic.config.cleanup_policy == ["compact"]
        assert topic.config.is_compacted
        assert _alter(
            harness, TOPIC, "t1", ("cleanup.policy", DELETE, None), ("nope", DELETE, None)
        ).is_success
        assert topic.config.cleanup_policy == ["delete"]
        assert topic.config.retention_ms == 1000

    def test_same_value_writes_nothing(self, harness: Harness) -> None:
        end_offset = harness.log.log_end_offset
        assert _alter(harness, TOPIC, "t1", ("retention.ms", SET, "1000")).is_success
        assert harness.log.log_end_offset == end_offset

    def test_resource_named_twice(self, harness: Harness) -> None:
        resource = Alteration(TOPIC, "t1", [("retention.ms", SET, "8")])
        for result in harness.run(AlterSettings([resource, resource])):
            assert _answer(result) == (E.INVALID_REQUEST, "Each resource must appear at most once.")

    def test_validate_only(self, harness: Harness) -> None:
        command = AlterSettings([Alteration(TOPIC, "t1", [("retention.ms", SET, "8")])], validate_only=True)
        assert harness.one(command).is_success
        assert harness.catalog.topics["t1"].config.retention_ms == 1000

    def test_replace(self, harness: Harness) -> None:
        command = ReplaceSettings([Alteration(TOPIC, "t1", [("segment.ms", SET, "5")])])
        assert harness.one(command).is_success
        topic = harness.catalog.topics["t1"]
        assert (topic.config.retention_ms, topic.config.segment_ms) == (604_800_000, 5)

    def test_broker_settings_reach_topics_and_partitions(self, harness: Harness) -> None:
        topic = harness.catalog.topics["t1"]
        partition = topic.partition(0)
        assert _alter(harness, BROKER, "", ("log.retention.bytes", SET, "300")).is_success
        assert _alter(harness, BROKER, "1", ("log.retention.bytes", SET, "400")).is_success
        assert topic.config.retention_bytes == 400
        assert partition.changes == 2  # type: ignore[union-attr]
        assert _alter(harness, BROKER, "1", ("log.retention.bytes", DELETE, None)).is_success
        assert topic.config.retention_bytes == 300

    @pytest.mark.parametrize(
        ("resource_type", "name", "operation", "error", "message"),
        [
            (
                BROKER,
                "1",
                ("num.partitions", "3"),
                E.INVALID_REQUEST,
                "Cannot update these configs dynamically: [num.partitions]",
            ),
            (
                BROKER,
                "5",
                ("message.max.bytes", "3"),
                E.INVALID_REQUEST,
                "Unexpected broker id, expected 1, but received 5",
            ),
            (
                BROKER,
                "x",
                ("message.max.bytes", "3"),
                E.INVALID_REQUEST,
                "Node id must be an integer, but it is: x",
            ),
            (
                BROKER,
                "1",
                ("message.max.bytes", "x"),
                E.INVALID_REQUEST,
                "Invalid value x for configuration message.max.bytes: Not a number of type INT",
            ),
            (BROKER, "1", ("nope", "x"), E.INVALID_CONFIG, "Unknown broker config name: nope"),
            (
                CLIENT_METRICS,
                "m",
                ("interval.ms", "1"),
                E.INVALID_REQUEST,
                "Invalid value 1 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
            ),
            (
                CLIENT_METRICS,
                "m",
                ("nope", "1"),
                E.INVALID_REQUEST,
                "Unknown client metrics configuration: nope",
            ),
            (CLIENT_METRICS, "", ("metrics", "*"), E.INVALID_REQUEST, "Subscription name can't be empty"),
            (
                CLIENT_METRICS,
                "m",
                ("match", "foo=.*"),
                E.INVALID_CONFIG,
                "Illegal client matching pattern: foo=.*",
            ),
            (
                GROUP,
                "g",
                ("consumer.session.timeout.ms", "2"),
                E.INVALID_CONFIG,
                "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
            ),
            (
                GROUP,
                "g",
                ("consumer.session.timeout.ms", "99999999"),
                E.INVALID_CONFIG,
                "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms",
            ),
            (GROUP, "g", ("nope", "1"), E.INVALID_CONFIG, "Unknown group config name: nope"),
            (
                GROUP,
                "",
                ("consumer.session.timeout.ms", "1"),
                E.INVALID_REQUEST,
                "Default group resources are not allowed.",
            ),
            (7, "x", ("a", "1"), E.INVALID_REQUEST, "Unknown resource type 7"),
        ],
    )
    def test_other_resources_refused(
        self,
        harness: Harness,
        resource_type: int,
        name: str,
        operation: tuple[str, str],
        error: ErrorCode,
        message: str,
    ) -> None:
        result = _alter(harness, resource_type, name, (operation[0], SET, operation[1]))
        assert _answer(result) == (error, message)

    def test_other_resources_taken(self, harness: Harness) -> None:
        assert _alter(harness, GROUP, "g", ("consumer.session.timeout.ms", SET, "46000")).is_success
        assert _alter(harness, CLIENT_METRICS, "m", ("match", SET, "client_id=.*")).is_success
        assert harness.catalog.state.settings_of(GROUP, "g") == {"consumer.session.timeout.ms": "46000"}
        assert harness.catalog.state.settings_of(CLIENT_METRICS, "m") == {"match": "client_id=.*"}


def test_producer_ids_ascend(harness: Harness) -> None:
    blocks = [harness.one(AllocateProducerIds(1000)).value for _ in range(3)]
    assert blocks == [range(1000), range(1000, 2000), range(2000, 3000)]
