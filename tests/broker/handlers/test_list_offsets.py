"""ListOffsets right after a producer's acks=1, which is answered before the sync."""

from __future__ import annotations

import pytest

from broker.handlers import list_offsets
from broker.request import Deferred, Request
from protocol.api import ApiKey
from protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from protocol.records import Record, build, parse_batches
from tests.broker.handlers.stand import StandIn
from tests.broker.topics.fakes import NOW_MS

LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3


@pytest.fixture
def stand() -> StandIn:
    """A topic with ten records, a millisecond apart, that are not synced yet."""
    stand = StandIn()
    topic = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    stand.call(ApiKey.CREATE_TOPICS, 7, CreateTopicsRequest(topics=[topic]))
    partition = stand.catalog.topics["t"].partition(0)
    assert partition is not None
    data = memoryview(build([Record(timestamp=NOW_MS + n, value=b"v") for n in range(10)]))
    partition.log.append(data, parse_batches(data), NOW_MS)
    return stand


def ask(stand: StandIn, timestamp: int) -> ListOffsetsResponse | Deferred[ListOffsetsResponse]:
    asked = ListOffsetsPartition(partition_index=0, timestamp=timestamp)
    message = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name="t", partitions=[asked])])
    return list_offsets.handle(stand, Request(ApiKey.LIST_OFFSETS, 7, 1, "test", message, None))  # type: ignore


@pytest.mark.parametrize(
    ("timestamp", "offset"), [(LATEST, 10), (MAX_TIMESTAMP, 9), (NOW_MS + 4, 4), (NOW_MS + 99, -1)]
)
def test_the_answer_waits_for_what_was_acknowledged(stand: StandIn, timestamp: int, offset: int) -> None:
    waiting = ask(stand, timestamp)
    assert isinstance(waiting, Deferred)
    assert not waiting.is_resolved
    stand.flusher.run_round()
    got: list[ListOffsetsResponse] = []
    waiting.then(got.append)
    assert got[0].topics[0].partitions[0].offset == offset


def test_the_beginning_is_told_at_once(stand: StandIn) -> None:
    answer = ask(stand, EARLIEST)
    assert isinstance(answer, ListOffsetsResponse)
    assert answer.topics[0].partitions[0].offset == 0
