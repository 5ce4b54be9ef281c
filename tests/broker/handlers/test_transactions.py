"""The transaction APIs at every version, against a whole broker; and transactions across its restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)
from protocol.messages.api_versions import ApiVersionsRequest
from protocol.messages.delete_topics import DeleteTopicsRequest
from protocol.messages.describe_producers import DescribeProducersRequest, TopicRequest
from protocol.messages.describe_transactions import DescribeTransactionsRequest
from protocol.messages.end_txn import EndTxnRequest
from protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from protocol.messages.init_producer_id import InitProducerIdRequest
from protocol.messages.list_groups import ListGroupsRequest
from protocol.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from protocol.messages.list_transactions import ListTransactionsRequest
from protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from protocol.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
)
from tests.broker.handlers.whole import Whole, with_broker
from tests.broker.in_process import in_process, run
from tests.faults.wire import batch

ID = "id"
TOPIC = "topic"
GROUP = "group"
SETTINGS = {"offsets_topic_num_partitions": "3", "transaction_state_log_num_partitions": "3"}


class Session:
    """A transactional producer of requests. Version 2 adds partitions by producing (KIP-890)."""

    def __init__(self, whole: Whole, *, is_version_2: bool = True) -> None:
        self.whole = whole
        self.is_version_2 = is_version_2
        self.producer_id, self.epoch, self.sequence = -1, -1, 0

    async def init(self, version: int = 5, **fields: Any) -> int:
        """As often as it takes; the error code."""
        while True:
            message = InitProducerIdRequest(
                transactional_id=ID, transaction_timeout_ms=fields.pop("timeout_ms", 60_000), **fields
            )
            answer = await self.whole.ask(ApiKey.INIT_PRODUCER_ID, version, message)
            if answer.error_code != ErrorCode.CONCURRENT_TRANSACTIONS:
                break
            await asyncio.sleep(0)
        if not answer.error_code:
            self.producer_id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return int(answer.error_code)

    async def produce(self, topic: str = TOPIC, version: int | None = None, **changes: Any) -> int:
        records = batch(
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            base_sequence=self.sequence,
            is_transactional=True,
        )
        data = [PartitionProduceData(index=0, records=records)]
        message = ProduceRequest(
            transactional_id=changes.get("transactional_id", ID),
            acks=-1,
            timeout_ms=1000,
            topic_data=[TopicProduceData(name=topic, partition_data=data)],
        )
        version = version or (12 if self.is_version_2 else 11)
        answer = await self.whole.ask(ApiKey.PRODUCE, version, message)
        code = answer.responses[0].partition_responses[0].error_code
        self.sequence += not code
        return int(code)

    async def add(self, version: int = 3, topic: str = TOPIC) -> int:
        topics = [AddPartitionsToTxnTopic(name=topic, partitions=[0])]
        message = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=ID,
            v3_and_below_producer_id=self.producer_id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=topics,
        )
        if version >= 4:
            asked = AddPartitionsToTxnTransaction(
                transactional_id=ID, producer_id=self.producer_id, producer_epoch=self.epoch, topics=topics
            )
            message = AddPartitionsToTxnRequest(transactions=[asked])
        answer = await self.whole.ask(ApiKey.ADD_PARTITIONS_TO_TXN, version, message)
        results = answer.results_by_topic_v3_and_below
        if version >= 4:
            results = answer.results_by_transaction[0].topic_results
        return int(results[0].results_by_partition[0].partition_error_code)

    async def add_offsets(self, version: int = 4) -> int:
        message = AddOffsetsToTxnRequest(
            transactional_id=ID, producer_id=self.producer_id, producer_epoch=self.epoch, group_id=GROUP
        )
        return int((await self.whole.ask(ApiKey.ADD_OFFSETS_TO_TXN, version, message)).error_code)

    async def commit_offset(self, offset: int, version: int = 5, **member: Any) -> int:
        partitions = [
            TxnOffsetCommitRequestPartition(
                partition_index=0, committed_offset=offset, committed_metadata="so far"
            )
        ]
        message = TxnOffsetCommitRequest(
            transactional_id=ID,
            group_id=GROUP,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            topics=[TxnOffsetCommitRequestTopic(name=TOPIC, partitions=partitions)],
            **member,
        )
        answer = await self.whole.ask(ApiKey.TXN_OFFSET_COMMIT, version, message)
        return int(answer.topics[0].partitions[0].error_code)

    async def end(self, is_committed: bool = True, version: int | None = None) -> int:
        message = EndTxnRequest(
            transactional_id=ID,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            committed=is_committed,
        )
        version = version if version is not None else 5 if self.is_version_2 else 4
        answer = await self.whole.ask(ApiKey.END_TXN, version, message)
        if not answer.error_code and version >= 5:
            self.producer_id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return int(answer.error_code)


async def committed_offset(whole: Whole, *, is_stable: bool = False) -> tuple[int, int]:
    """(offset, error code)."""
    topics = [OffsetFetchRequestTopics(name=TOPIC, partition_indexes=[0])]
    groups = [OffsetFetchRequestGroup(group_id=GROUP, topics=topics)]
    message = OffsetFetchRequest(groups=groups, require_stable=is_stable)
    answer = await whole.ask(ApiKey.OFFSET_FETCH, 8, message)
    found = answer.groups[0].topics[0].partitions[0]
    return found.committed_offset, found.error_code


async def end_offset(whole: Whole, isolation_level: int) -> int:
    """Where a reader's end is."""
    partitions = [ListOffsetsPartition(partition_index=0, timestamp=-1)]
    message = ListOffsetsRequest(
        replica_id=-1,
        isolation_level=isolation_level,
        topics=[ListOffsetsTopic(name=TOPIC, partitions=partitions)],
    )
    answer = await whole.ask(ApiKey.LIST_OFFSETS, 7, message)
    return int(answer.topics[0].partitions[0].offset)


@pytest.mark.parametrize("version", range(6))
def test_init_at_every_version(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        session = Session(whole)
        assert await session.init(version) == 0
        assert (session.producer_id >= 0, session.epoch) == (True, 0)
        assert await session.init(version) == 0
        assert session.epoch == 1
        assert await session.init(version, timeout_ms=10**9) == ErrorCode.INVALID_TRANSACTION_TIMEOUT
        if version >= 3:
            fenced = ErrorCode.PRODUCER_FENCED if version >= 4 else ErrorCode.INVALID_PRODUCER_EPOCH
            own = {"producer_id": session.producer_id}
            assert await session.init(version, producer_epoch=0, **own) == fenced
            assert await session.init(version, producer_epoch=1, **own) == 0
            assert session.epoch == 2
            assert await session.init(version, producer_epoch=1, **own) == 0  # the answer was lost
            assert session.epoch == 2
            assert await session.init(version, **own) == ErrorCode.INVALID_REQUEST

    with_broker(tmp_path, work, **SETTINGS)


@pytest.mark.parametrize("version", range(6))
def test_a_transaction_at_every_version(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        session = Session(whole, is_version_2=version >= 5)
        await session.init()
        produced = await session.produce(version=11)
        assert produced == ErrorCode.TRANSACTION_ABORTABLE  # it has not been added
        assert await session.produce(version=10) == ErrorCode.INVALID_TXN_STATE
        assert await session.add(version) == 0
        assert await session.produce(version=11) == 0
        assert await session.add_offsets(min(version, 4)) == 0
        assert await session.commit_offset(7, version) == 0
        assert (await end_offset(whole, 0), await end_offset(whole, 1)) == (1, 0)
        assert await committed_offset(whole) == (-1, 0)
        assert await committed_offset(whole, is_stable=True) == (-1, ErrorCode.UNSTABLE_OFFSET_COMMIT)
        assert await session.end(version=version) == 0
        assert (await end_offset(whole, 0), await end_offset(whole, 1)) == (2, 2)
        assert await committed_offset(whole, is_stable=True) == (7, 0)
        stale = Session(whole)
        stale.producer_id, stale.epoch = session.producer_id, 99
        fenced = ErrorCode.PRODUCER_FENCED if version >= 2 else ErrorCode.INVALID_PRODUCER_EPOCH
        assert await stale.add(version) == fenced
        assert await stale.end(version=version) == fenced

    with_broker(tmp_path, work, **SETTINGS)


def test_a_missing_topic_leaves_the_others_out(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        session = Session(whole)
        await session.init()
        topics = [AddPartitionsToTxnTopic(name=name, partitions=[0]) for name in (TOPIC, "missing")]
        message = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=ID,
            v3_and_below_producer_id=session.producer_id,
            v3_and_below_producer_epoch=session.epoch,
            v3_and_below_topics=topics,
        )
        answer = await whole.ask(ApiKey.ADD_PARTITIONS_TO_TXN, 3, message)
        codes = [
            topic.results_by_partition[0].partition_error_code
            for topic in answer.results_by_topic_v3_and_below
        ]
        assert codes == [ErrorCode.OPERATION_NOT_ATTEMPTED, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
        assert await session.produce(version=11) == ErrorCode.TRANSACTION_ABORTABLE

    with_broker(tmp_path, work, **SETTINGS)


def test_late_requests_do_not_reach_the_next_transaction(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        await whole.create("other")
        session = Session(whole)
        await session.init()
        late = Session(whole)
        late.producer_id, late.epoch = session.producer_id, session.epoch
        assert await session.produce() == 0
        assert await session.end() == 0
        assert await session.produce() == 0
        assert await late.produce("other") == ErrorCode.INVALID_PRODUCER_EPOCH
        assert await late.produce() == ErrorCode.INVALID_PRODUCER_EPOCH
        assert await late.commit_offset(3) == ErrorCode.INVALID_PRODUCER_EPOCH
        assert await late.end() == ErrorCode.PRODUCER_FENCED
        assert await end_offset(whole, 1) == 2  # the second transaction is still open

    with_broker(tmp_path, work, **SETTINGS)


def test_members_of_the_group_are_checked(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        session = Session(whole)
        await session.init()
        stranger = {"generation_id": 3, "member_id": "stranger"}
        assert await session.commit_offset(1, **stranger) == ErrorCode.ILLEGAL_GENERATION
        assert await session.commit_offset(1) == 0
        # What is pending makes a group, and it has no such member.
        assert await session.commit_offset(1, **stranger) == ErrorCode.UNKNOWN_MEMBER_ID
        groups = (await whole.ask(ApiKey.LIST_GROUPS, 4, ListGroupsRequest())).groups
        assert [group.group_id for group in groups] == [GROUP]

    with_broker(tmp_path, work, **SETTINGS)


def test_partitions_that_are_not_there_are_told_whatever_the_producer_is(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        partitions = [
            TxnOffsetCommitRequestPartition(partition_index=index, committed_offset=1) for index in (9, 0)
        ]
        message = TxnOffsetCommitRequest(
            transactional_id=ID,
            group_id=GROUP,
            producer_id=12345,
            producer_epoch=0,
            topics=[TxnOffsetCommitRequestTopic(name=TOPIC, partitions=partitions)],
        )
        answer = await whole.ask(ApiKey.TXN_OFFSET_COMMIT, 5, message)
        codes = [partition.error_code for partition in answer.topics[0].partitions]
        assert codes == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.INVALID_PRODUCER_ID_MAPPING]

    with_broker(tmp_path, work, **SETTINGS)


def test_a_fetch_names_the_aborted_transactions_within_what_it_sends(tmp_path: Path) -> None:
    """All others would be sent with every small fetch, again and again."""

    async def fetched(whole: Whole, offset: int, max_bytes: int) -> list[int]:
        wanted = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=max_bytes)
        topics = [FetchTopic(topic=TOPIC, partitions=[wanted])]
        message = FetchRequest(max_wait_ms=0, min_bytes=0, isolation_level=1, topics=topics)
        answer = await whole.ask(ApiKey.FETCH, 11, message)
        aborted = answer.responses[0].partitions[0].aborted_transactions
        return [transaction.first_offset for transaction in aborted]

    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        session = Session(whole)
        await session.init()
        for _ in range(3):
            await session.produce()
            await session.end(is_committed=False)
        assert await fetched(whole, 0, 1 << 20) == [0, 2, 4]
        assert await fetched(whole, 0, 1) == [0]
        assert await fetched(whole, 1, 1) == [0]
        assert await fetched(whole, 2, 1) == [2]
        assert await fetched(whole, 4, 1 << 20) == [4]

    with_broker(tmp_path, work, **SETTINGS)


def test_transactional_records_need_a_transactional_id(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        session = Session(whole)
        await session.init()
        code = await session.produce(transactional_id=None)
        assert code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED

    with_broker(tmp_path, work, **SETTINGS)


def test_a_deleted_topic_does_not_keep_a_transaction_from_ending(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        await whole.create("deleted")
        session = Session(whole)
        await session.init()
        assert await session.produce() == 0
        session.sequence = 0
        assert await session.produce("deleted") == 0
        await whole.ask(
            ApiKey.DELETE_TOPICS, 5, DeleteTopicsRequest(topic_names=["deleted"], timeout_ms=1000)
        )
        assert await session.end() == 0
        assert await end_offset(whole, 1) == 2

    with_broker(tmp_path, work, **SETTINGS)


@pytest.mark.parametrize("version", [1, 2])
def test_administrators_see_and_end_transactions(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        await whole.create(TOPIC)
        session = Session(whole)
        await session.init()
        assert await session.produce() == 0
        answer = await whole.ask(
            ApiKey.DESCRIBE_TRANSACTIONS, 0, DescribeTransactionsRequest(transactional_ids=[ID, "none", ""])
        )
        described, missing, empty = answer.transaction_states
        assert (described.transaction_state, described.topics[0].topic) == ("Ongoing", TOPIC)
        assert missing.error_code == ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
        assert empty.error_code == ErrorCode.INVALID_REQUEST
        for filters, expected in (
            ({}, [ID]),
            ({"state_filters": ["Ongoing", "Nonsense"]}, [ID]),
            ({"state_filters": ["Nonsense"]}, []),
            ({"producer_id_filters": [session.producer_id + 1]}, []),
            ({"transactional_id_pattern": "i."}, [ID]),
            ({"transactional_id_pattern": "x.*"}, []),
            ({"duration_filter": 3_600_000}, []),
        ):
            listed = await whole.ask(ApiKey.LIST_TRANSACTIONS, 2, ListTransactionsRequest(**filters))
            assert [state.transactional_id for state in listed.transaction_states] == expected
            assert listed.unknown_state_filters == ["Nonsense"] * ("Nonsense" in str(filters))
        broken = await whole.ask(
            ApiKey.LIST_TRANSACTIONS, 2, ListTransactionsRequest(transactional_id_pattern="(")
        )
        assert broken.error_code == ErrorCode.INVALID_REGULAR_EXPRESSION
        topics = [TopicRequest(name=TOPIC, partition_indexes=[0])]
        answer = await whole.ask(ApiKey.DESCRIBE_PRODUCERS, 0, DescribeProducersRequest(topics=topics))
        (producer,) = answer.topics[0].partitions[0].active_producers
        assert (producer.current_txn_start_offset, producer.coordinator_epoch) == (0, -1)
        marker = WritableTxnMarker(
            producer_id=session.producer_id,
            producer_epoch=session.epoch + (version == 2),
            transaction_result=False,
            topics=[WritableTxnMarkerTopic(name=name, partition_indexes=[0]) for name in (TOPIC, "none")],
            coordinator_epoch=0,
            transaction_version=version if version == 2 else 0,
        )
        answer = await whole.ask(ApiKey.WRITE_TXN_MARKERS, version, WriteTxnMarkersRequest(markers=[marker]))
        codes = [topic.partitions[0].error_code for topic in answer.markers[0].topics]
        assert codes == [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
        assert await end_offset(whole, 1) == 2

    with_broker(tmp_path, work, **SETTINGS)


def test_transaction_version_2_is_finalised(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        message = ApiVersionsRequest(client_software_name="test", client_software_version="1.0")
        for version, has_minimum_0 in ((3, False), (4, True)):
            answer = await whole.ask(ApiKey.API_VERSIONS, version, message)
            supported = {feature.name for feature in answer.supported_features}
            assert ("transaction.version" in supported) == has_minimum_0
            levels = {feature.name: feature.max_version_level for feature in answer.finalized_features}
            assert levels["transaction.version"] == 2
            assert answer.finalized_features_epoch >= 0

    with_broker(tmp_path, work)


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_open_transaction_outlives_a_restart(tmp_path: Path, is_committed: bool) -> None:
    """With offsets pending; stopped cleanly, so that the groups' checkpoint is written and loaded."""

    async def in_two_lives() -> None:
        async with in_process(tmp_path / "data", **SETTINGS) as process:
            whole = Whole(process)
            await whole.create(TOPIC)
            session = Session(whole)
            await session.init()
            assert await session.commit_offset(3) == 0
            assert await session.end() == 0
            assert await session.produce() == 0
            assert await session.commit_offset(8) == 0
            for step in whole.broker.groups.checkpoint_steps():
                step()
        async with in_process(tmp_path / "data", **SETTINGS) as process:
            whole = session.whole = Whole(process)
            unstable = ErrorCode.UNSTABLE_OFFSET_COMMIT
            assert await committed_offset(whole, is_stable=True) == (-1, unstable)
            assert await committed_offset(whole) == (3, 0)
            assert await end_offset(whole, 1) == 0
            assert await session.end(is_committed) == 0
            assert await committed_offset(whole, is_stable=True) == (8 if is_committed else 3, 0)
            assert await session.produce() == 0
            assert await session.end() == 0
        async with in_process(tmp_path / "data", **SETTINGS) as process:
            whole = Whole(process)
            assert await committed_offset(whole, is_stable=True) == (8 if is_committed else 3, 0)

    run(in_two_lives())
