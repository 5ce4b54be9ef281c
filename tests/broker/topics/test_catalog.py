"""The catalog over a log: order, durability, and that what was applied live is what a start finds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.topics.catalog import INITIAL_FEATURES
from broker.topics.commands import (
    APPEND,
    DELETE,
    SET,
    SUBTRACT,
    AllocateProducerIds,
    Alteration,
    AlterSettings,
    Command,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    MorePartitions,
    NewTopic,
    ReplaceSettings,
    Result,
)
from broker.topics.decide import decide
from broker.topics.producer_ids import ProducerIds
from broker.topics.state import BROKER, GROUP, TOPIC, State
from protocol.errors import ApiError, DiskFull, ErrorCode
from protocol.schema import ZERO_UUID
from tests.broker.topics.fakes import NOW_MS, FakeLog, FakePartition, Harness, make_partition

NAMES = st.sampled_from(["a", "b", "a.b", "a_b", "x" * 249, "bad/name", "__consumer_offsets"])
SETTINGS = st.sampled_from(
    [
        ("retention.ms", "5"),
        ("retention.ms", "x"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "delete,compact"),
        ("segment.bytes", "2000000"),
        ("nope", "1"),
    ]
)


@st.composite
def new_topics(draw: st.DrawFn) -> NewTopic:
    pairs = draw(st.lists(SETTINGS, max_size=2))
    return NewTopic(draw(NAMES), ZERO_UUID, draw(st.integers(-2, 4)), draw(st.integers(-1, 2)), (), pairs)


@st.composite
def alterations(draw: st.DrawFn) -> Alteration:
    resource_type, names, keys = draw(
        st.sampled_from(
            [
                (TOPIC, ["a", "b", "a.b"], ["retention.ms", "cleanup.policy", "nope"]),
                (BROKER, ["", "1", "2"], ["log.retention.ms", "log.cleanup.policy", "num.partitions"]),
                (GROUP, ["g", ""], ["consumer.session.timeout.ms"]),
            ]
        )
    )
    operation = st.tuples(
        st.sampled_from(keys),
        st.sampled_from([SET, DELETE, APPEND, SUBTRACT]),
        st.sampled_from(["5", "46000", "delete", "compact", "", None]),
    )
    return Alteration(resource_type, draw(st.sampled_from(names)), draw(st.lists(operation, max_size=3)))


COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.builds(CreateTopics, st.lists(new_topics(), max_size=3), st.booleans()),
    st.builds(DeleteTopics, st.lists(st.tuples(NAMES, st.just(ZERO_UUID)), max_size=2)),
    st.builds(
        CreatePartitions,
        st.lists(st.builds(MorePartitions, NAMES, st.integers(-1, 6)), max_size=2),
        st.booleans(),
    ),
    st.builds(AlterSettings, st.lists(alterations(), max_size=2), st.booleans()),
    st.builds(ReplaceSettings, st.lists(alterations(), max_size=2)),
    st.builds(AllocateProducerIds, st.integers(1, 1000)),
)


def _with_ids(harness: Harness, command: Command) -> Command:
    """The command with ids of its own for new topics."""
    if isinstance(command, CreateTopics):
        return command._replace(topics=[topic._replace(topic_id=harness.ids()) for topic in command.topics])
    return command


@given(st.lists(COMMANDS, max_size=12))
def test_replay_from_empty_equals_live(commands: list[Command]) -> None:
    live = Harness()
    for command in commands:
        live.run(_with_ids(live, command))
    replayed = Harness(live.log.crashed())
    assert replayed.catalog.state.image() == live.catalog.state.image()
    assert replayed.catalog.next_offset == live.catalog.next_offset


@given(st.lists(COMMANDS, max_size=6), COMMANDS)
def test_deciding_changes_nothing_and_is_repeatable(commands: list[Command], last: Command) -> None:
    live = Harness()
    for command in commands:
        live.run(_with_ids(live, command))
    last = _with_ids(live, last)
    before, again = live.catalog.state.image(), Harness(live.log.crashed()).catalog.state
    outcome = decide(live.catalog.state, last, NOW_MS)
    assert live.catalog.state.image() == before == again.image()
    assert decide(again, last, NOW_MS) == outcome


@given(st.lists(COMMANDS, max_size=12), st.sets(st.integers(0, 11)), st.integers(0, 12))
@settings(max_examples=40)
def test_checkpoint_and_tail_equal_live(
    tmp_path_factory: pytest.TempPathFactory, commands: list[Command], checkpoints: set[int], crash_at: int
) -> None:
    path = str(tmp_path_factory.mktemp("checkpoint") / "db")
    live = Harness(checkpoint_path=path)
    for number, command in enumerate(commands):
        live.run(_with_ids(live, command))
        if number in checkpoints:
            live.catalog.write_checkpoint()
        if number == crash_at:
            assert live.checkpoint is not None
            live.checkpoint.close()
            ids = live.ids
            live = Harness(live.log.crashed(), path)
            live.ids = ids
    assert live.checkpoint is not None
    live.checkpoint.close()
    restarted = Harness(live.log.crashed(), path)
    assert restarted.catalog.state.image() == live.catalog.state.image()
    assert restarted.catalog.state.image() == Harness(live.log.crashed()).catalog.state.image()
    restarted.catalog.close()


class TestDurability:
    @pytest.fixture
    def harness(self) -> Harness:
        return Harness(FakeLog(is_synced_at_once=False))

    def test_nothing_is_seen_or_answered_before_it_is_durable(self, harness: Harness) -> None:
        answers: list[list[Result]] = []
        harness.catalog.submit(CreateTopics([harness.topic("t")])).then(answers.append)
        assert harness.log.log_end_offset > 0
        assert harness.kicks == 1
        assert answers == []
        assert harness.catalog.topics == {}
        assert harness.catalog.applied_offset == -1
        harness.log.sync()
        assert [result.is_success for result in answers[0]] == [True]
        assert list(harness.catalog.topics) == ["t"]
        assert harness.catalog.applied_offset == harness.log.log_end_offset - 1

    def test_commands_are_taken_one_after_the_other(self, harness: Harness) -> None:
        answers: list[tuple[int, ErrorCode]] = []
        for number in range(3):
            command = CreateTopics([harness.topic("t")])
            harness.catalog.submit(command).then(
                lambda results, number=number: answers.append((number, results[0].error))  # type: ignore[misc]
            )
        assert len(harness.log.batches) == 1
        harness.log.sync()
        assert answers == [
            (0, ErrorCode.NONE),
            (1, ErrorCode.TOPIC_ALREADY_EXISTS),
            (2, ErrorCode.TOPIC_ALREADY_EXISTS),
        ]
        assert len(harness.log.batches) == 1

    def test_an_answer_may_submit_again(self, harness: Harness) -> None:
        answers: list[str] = []

        def create_next(results: list[Result]) -> None:
            answers.append("first")
            harness.catalog.submit(CreateTopics([harness.topic("b")])).then(
                lambda _: answers.append("second")
            )

        harness.catalog.submit(CreateTopics([harness.topic("a")])).then(create_next)
        harness.log.sync()
        assert answers == ["first"]
        harness.log.sync()
        assert answers == ["first", "second"]

    def test_a_crash_before_the_sync_forgets_the_command(self, harness: Harness) -> None:
        harness.catalog.submit(CreateTopics([harness.topic("a")]))
        harness.log.sync()
        harness.catalog.submit(CreateTopics([harness.topic("b")]))
        assert list(Harness(harness.log.crashed()).catalog.topics) == ["a"]

    def test_a_full_disk_refuses_and_changes_nothing(self, harness: Harness) -> None:
        harness.log.failure = DiskFull("no space left")
        commands = CreateTopics([harness.topic("a"), NewTopic("bad/name", ZERO_UUID)])
        results = harness.run(commands)
        assert [result.error for result in results] == [
            ErrorCode.KAFKA_STORAGE_ERROR,
            ErrorCode.INVALID_TOPIC_EXCEPTION,
        ]
        assert harness.failures == [harness.log.failure]
        assert harness.catalog.topics == {}
        harness.log.failure = None
        harness.catalog.submit(CreateTopics([harness.topic("a")]))
        harness.log.sync()
        assert list(harness.catalog.topics) == ["a"]

    def test_awaited_from_a_coroutine(self) -> None:
        harness = Harness()

        async def create() -> list[Result]:
            return await harness.catalog.submit(CreateTopics([harness.topic("a")]))

        assert asyncio.run(create())[0].is_success


class TestPartitions:
    def test_are_made_when_asked_for(self) -> None:
        harness = Harness()
        harness.run(CreateTopics([harness.topic("t", 3)]))
        topic = harness.catalog.topics["t"]
        assert list(topic.made_partitions()) == []
        partition = topic.partition(1)
        assert partition is topic.partition(1) is not None
        assert list(topic.made_partitions()) == [partition]
        assert [topic.partition(index) for index in (-1, 3)] == [None, None]

    def test_hear_of_changes_and_of_their_end(self) -> None:
        harness = Harness()
        harness.run(CreateTopics([harness.topic("t", 2)]))
        topic = harness.catalog.topics["t"]
        partition = cast(FakePartition, topic.partition(0))
        harness.run(AlterSettings([Alteration(TOPIC, "t", [("retention.ms", SET, "9")])]))
        assert partition.changes == 1
        assert not partition.is_deleted
        harness.run(DeleteTopics([("t", ZERO_UUID)]))
        assert partition.is_deleted

    def test_files_of_a_deletion_cut_short_go_at_the_next_start(self) -> None:
        harness = Harness()
        harness.run(CreateTopics([harness.topic("t"), harness.topic("u")]))
        harness.run(DeleteTopics([("t", ZERO_UUID), ("u", ZERO_UUID)]))
        harness.run(CreateTopics([harness.topic("u")]))
        assert Harness(harness.log.crashed()).deleted == ["t"]


class TestProducerIds:
    def test_never_twice_across_crashes(self) -> None:
        log = FakeLog()
        seen: list[int] = []
        for _ in range(4):
            harness = Harness(log)
            producer_ids = ProducerIds(harness.catalog, block_size=3)
            for _ in range(5):
                producer_ids.take().then(lambda got: seen.append(cast(int, got)))
            log = log.crashed()
        assert len(seen) == len(set(seen)) == 20
        assert seen == sorted(seen)

    def test_wait_for_the_block_to_be_durable(self) -> None:
        harness = Harness(FakeLog(is_synced_at_once=False))
        producer_ids = ProducerIds(harness.catalog)
        seen: list[int | ApiError] = []
        for _ in range(3):
            producer_ids.take().then(seen.append)
        assert seen == []
        harness.log.sync()
        assert seen == [0, 1, 2]
        assert len(harness.log.batches) == 1

    def test_a_full_disk_is_told(self) -> None:
        harness = Harness()
        harness.log.failure = DiskFull("no space left")
        producer_ids = ProducerIds(harness.catalog)
        with pytest.raises(ApiError, match="KAFKA_STORAGE_ERROR"):
            asyncio.run(producer_ids.next())
        harness.log.failure = None
        assert asyncio.run(producer_ids.next()) == 0


def test_a_run_is_written_down() -> None:
    harness = Harness()
    harness.catalog.register([("PLAINTEXT", "localhost", 9092)], "rack")
    assert harness.catalog.features == dict(INITIAL_FEATURES)
    assert harness.catalog.state.broker_epoch == 0
    again = Harness(harness.log.crashed())
    again.catalog.register([("PLAINTEXT", "localhost", 9092)], None)
    assert again.catalog.state.broker_epoch == 1
    assert again.catalog.applied_offset == harness.catalog.applied_offset + 1


def test_settings_of_another_version_do_not_stop_a_start() -> None:
    harness = Harness()
    state = State(harness.config, make_partition)
    state.add_topic(
        "t", bytes(15) + b"\1", 1, {"retention.ms": "x", "from.the.future": "1", "segment.ms": "5"}
    )
    assert state.topics["t"].config.segment_ms == 5
    assert state.topics["t"].config.retention_ms == 604_800_000


@pytest.fixture(scope="module")
def many() -> Iterator[Harness]:
    harness = Harness()
    for first in range(0, 10_000, 2_000):
        harness.run(
            CreateTopics([harness.topic(f"topic-{number}") for number in range(first, first + 2_000)])
        )
    yield harness


def test_ten_thousand_topics_load_from_a_checkpoint(many: Harness, tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    first = Harness(many.log.crashed(), path)
    first.catalog.close()
    second = Harness(many.log.crashed(), path)
    assert len(second.catalog.topics) == 10_000
    assert second.catalog.state.image() == many.catalog.state.image()
    second.catalog.close()
