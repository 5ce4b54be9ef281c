"""OffsetCommit, OffsetFetch and OffsetDelete at every version."""

from __future__ import annotations

import pytest

from protocol.errors import ErrorCode
from protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
)
from tests.broker.handlers.group_stand import GroupStand

E = ErrorCode
UNKNOWN_ID = b"\7" * 16


def commit_request(stand: GroupStand, version: int, offset: int = 5) -> OffsetCommitRequest:
    """Partitions 0 and 9 of "a", which has two, and one of a topic that is not there."""
    topics = []
    for name, partitions in (("a", (0, 9)), ("nope", (0,))):
        known = stand.catalog.topics.get(name)
        topic = OffsetCommitRequestTopic(
            partitions=[
                OffsetCommitRequestPartition(
                    partition_index=index,
                    committed_offset=offset,
                    committed_leader_epoch=3 if version >= 6 else -1,
                    committed_metadata="note" if index == 0 else None,
                )
                for index in partitions
            ]
        )
        if version >= 10:
            topic.topic_id = known.topic_id if known is not None else UNKNOWN_ID
        else:
            topic.name = name
        topics.append(topic)
    return OffsetCommitRequest(group_id="g", topics=topics)


@pytest.mark.parametrize("version", range(11))
def test_offset_commit(version: int) -> None:
    stand = GroupStand()
    answer = stand.answer(version, commit_request(stand, version))
    codes = [[p.error_code for p in topic.partitions] for topic in answer.topics]
    unknown = E.UNKNOWN_TOPIC_ID if version >= 10 else E.UNKNOWN_TOPIC_OR_PARTITION
    assert codes == [[E.NONE, E.UNKNOWN_TOPIC_OR_PARTITION], [unknown]]
    found = stand.groups.groups.offsets.get("g", "a", 0)
    assert found is not None
    assert (found.offset, found.metadata, found.leader_epoch) == (5, "note", 3 if version >= 6 else -1)


@pytest.mark.parametrize("version", range(11))
def test_a_commit_of_nothing_that_exists_needs_no_group(version: int) -> None:
    stand = GroupStand()
    request = commit_request(stand, version)
    del request.topics[0]
    assert stand.answer(version, request).topics[0].partitions[0].error_code
    assert stand.groups.groups.find("g") is None


@pytest.mark.parametrize("version", range(8))
def test_offset_fetch_of_one_group(version: int) -> None:
    stand = GroupStand()
    request = OffsetFetchRequest(
        group_id="g",
        topics=[
            OffsetFetchRequestTopic(name="a", partition_indexes=[0, 1]),
            OffsetFetchRequestTopic(name="nope", partition_indexes=[0]),
        ],
    )
    answer = stand.answer(version, request)
    assert [(p.committed_offset, p.error_code) for t in answer.topics for p in t.partitions] == [
        (-1, E.NONE)
    ] * 3
    stand.answer(8, commit_request(stand, 8))
    answer = stand.answer(version, request)
    first = answer.topics[0].partitions[0]
    assert (first.committed_offset, first.metadata) == (5, "note")
    assert first.committed_leader_epoch == (3 if version >= 5 else -1)
    assert answer.topics[0].partitions[1].committed_offset == -1


@pytest.mark.parametrize("version", range(2, 8))
def test_offset_fetch_of_everything(version: int) -> None:
    stand = GroupStand()
    request = OffsetFetchRequest(group_id="g", topics=None)
    assert stand.answer(version, request).topics == []
    stand.answer(8, commit_request(stand, 8))
    (topic,) = stand.answer(version, request).topics
    assert (topic.name, [p.partition_index for p in topic.partitions]) == ("a", [0])


@pytest.mark.parametrize("version", range(8, 11))
def test_offset_fetch_of_many_groups(version: int) -> None:
    stand = GroupStand()
    stand.answer(version, commit_request(stand, version))
    topic_id = stand.catalog.topics["a"].topic_id
    by_id = version >= 10
    asked = [
        OffsetFetchRequestTopics(
            **({"topic_id": topic_id} if by_id else {"name": "a"}), partition_indexes=[1, 0]
        ),
        OffsetFetchRequestTopics(
            **({"topic_id": UNKNOWN_ID} if by_id else {"name": "nope"}), partition_indexes=[0]
        ),
    ]
    groups = [
        OffsetFetchRequestGroup(group_id="g", topics=asked),
        OffsetFetchRequestGroup(group_id="unheard-of", topics=asked[:1]),
        OffsetFetchRequestGroup(group_id="g", topics=None),
    ]
    some, none, everything = stand.answer(version, OffsetFetchRequest(groups=groups)).groups
    assert [p.committed_offset for p in some.topics[0].partitions] == [-1, 5]
    assert some.topics[1].partitions[0].error_code == (E.UNKNOWN_TOPIC_ID if by_id else E.NONE)
    assert [p.committed_offset for p in none.topics[0].partitions] == [-1, -1]
    (topic,) = everything.topics
    assert (topic.topic_id == topic_id) if by_id else (topic.name == "a")
    assert [(p.partition_index, p.committed_offset) for p in topic.partitions] == [(0, 5)]


def test_offset_delete() -> None:
    stand = GroupStand()
    request = OffsetDeleteRequest(
        group_id="g",
        topics=[
            OffsetDeleteRequestTopic(
                name="a",
                partitions=[OffsetDeleteRequestPartition(partition_index=index) for index in (99, 0)],
            ),
            OffsetDeleteRequestTopic(name="nope", partitions=[OffsetDeleteRequestPartition()]),
        ],
    )
    assert stand.answer(0, request).error_code == E.GROUP_ID_NOT_FOUND
    stand.answer(8, commit_request(stand, 8))
    answer = stand.answer(0, request)
    codes = [p.error_code for topic in answer.topics for p in topic.partitions]
    unknown = E.UNKNOWN_TOPIC_OR_PARTITION
    assert (answer.error_code, codes) == (E.NONE, [unknown, E.NONE, unknown])
    assert stand.groups.groups.find("g") is None
    request.group_id = ""
    assert stand.answer(0, request).error_code == E.INVALID_GROUP_ID
