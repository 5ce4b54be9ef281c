"""What the commands ask brokers about transactions (KIP-664), as plain functions over `Client`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.cli.client import BrokerError, Client, Connection, check
from broker.cli.errors import CommandFailed
from broker.cli.groups_requests import TRANSACTION, at_coordinator
from protocol.api import ApiKey

if TYPE_CHECKING:
    from protocol.messages.describe_producers import PartitionResponse, ProducerState
    from protocol.messages.describe_transactions import TransactionState

NO_TRANSACTION: Final = -1
ONGOING_STATES: Final = ("Ongoing", "PrepareCommit", "PrepareAbort")


@dataclass(slots=True)
class Listed:
    """One line of ListTransactions."""

    transactional_id: str
    coordinator: int
    producer_id: int
    state: str


@dataclass(slots=True)
class OpenTransaction:
    """A transaction that is open in a partition, as the partition's leader sees it."""

    topic: str
    partition: int
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    start_offset: int
    last_timestamp_ms: int


def list_transactions(
    client: Client,
    states: Sequence[str] = (),
    producer_ids: Sequence[int] = (),
    longer_than_ms: int = -1,
    pattern: str | None = None,
) -> list[Listed]:
    """Return the transactional ids of all brokers, by name."""
    from protocol.messages.list_transactions import ListTransactionsRequest

    client.refresh_metadata([])
    found: list[Listed] = []
    for node_id in sorted(client.brokers):
        connection = client.broker(node_id)
        version = connection.version(ApiKey.LIST_TRANSACTIONS)
        for is_wanted, option, since in (
            (longer_than_ms >= 0, "--longer-than-ms", 1),
            (pattern is not None, "--pattern", 2),
        ):
            if is_wanted and version < since:
                raise CommandFailed(f"The broker at {connection.name} is too old for {option}.")
        request = ListTransactionsRequest(state_filters=list(states), producer_id_filters=list(producer_ids))
        if version >= 1:
            request.duration_filter = longer_than_ms
        if version >= 2:
            request.transactional_id_pattern = pattern
        response = connection.request(ApiKey.LIST_TRANSACTIONS, request, version)
        check(response.error_code, f"Transactions of {connection.name}")
        found += [
            Listed(state.transactional_id, node_id, state.producer_id, state.transaction_state)
            for state in response.transaction_states
        ]
    return sorted(found, key=lambda listed: listed.transactional_id)


def describe(client: Client, transactional_id: str) -> tuple[Connection, TransactionState]:
    """Return a transactional id's coordinator and state. Raises BrokerError if there is none of that name."""
    from protocol.messages.describe_transactions import DescribeTransactionsRequest

    def ask(connection: Connection) -> tuple[Connection, TransactionState]:
        request = DescribeTransactionsRequest(transactional_ids=[transactional_id])
        (state,) = connection.request(ApiKey.DESCRIBE_TRANSACTIONS, request).transaction_states
        check(state.error_code, f"Transactional id {transactional_id}")
        return connection, state

    return at_coordinator(client, transactional_id, ask, TRANSACTION)


def _producers(client: Client, topic: str, partitions: Sequence[int]) -> Iterator[PartitionResponse]:
    from protocol.messages.describe_producers import DescribeProducersRequest, TopicRequest

    for node_id, indexes in client.by_leader(topic, dict.fromkeys(partitions)).items():
        request = DescribeProducersRequest(topics=[TopicRequest(name=topic, partition_indexes=list(indexes))])
        (found,) = client.broker(node_id).request(ApiKey.DESCRIBE_PRODUCERS, request).topics
        yield from found.partitions


def open_transactions(client: Client, topic: str, partition: int | None = None) -> list[OpenTransaction]:
    """Return what is open in a topic, or in one partition of it."""
    indexes = [each.partition_index for each in client.topic(topic, refresh=True).partitions]
    found = []
    for answer in _producers(client, topic, indexes if partition is None else [partition]):
        check(answer.error_code, f"Producers of {topic}-{answer.partition_index}", answer.error_message)
        found += [
            _open(topic, answer.partition_index, producer)
            for producer in answer.active_producers
            if producer.current_txn_start_offset != NO_TRANSACTION
        ]
    return found


def _open(topic: str, partition: int, producer: ProducerState) -> OpenTransaction:
    return OpenTransaction(
        topic,
        partition,
        producer.producer_id,
        producer.producer_epoch,
        producer.coordinator_epoch,
        producer.current_txn_start_offset,
        producer.last_timestamp,
    )


def hanging(client: Client, candidates: Iterable[OpenTransaction]) -> list[OpenTransaction]:
    """Return those of which no coordinator knows: nobody will ever end them."""
    waiting = list(candidates)
    if not waiting:
        return []
    ids = sorted({candidate.producer_id for candidate in waiting})
    known: set[tuple[int, str, int]] = set()
    for listed in list_transactions(client, producer_ids=ids):
        try:
            _, state = describe(client, listed.transactional_id)
        except BrokerError:
            continue  # it has just been forgotten
        known.update(
            (state.producer_id, topic.topic, partition)
            for topic in state.topics
            for partition in topic.partitions
            if state.transaction_state in ONGOING_STATES
        )
    return [each for each in waiting if (each.producer_id, each.topic, each.partition) not in known]


def abort(client: Client, found: OpenTransaction) -> None:
    """Write the marker that ends a transaction in one partition."""
    from protocol.messages.write_txn_markers import (
        WritableTxnMarker,
        WritableTxnMarkerTopic,
        WriteTxnMarkersRequest,
    )

    topic = WritableTxnMarkerTopic(name=found.topic, partition_indexes=[found.partition])
    marker = WritableTxnMarker(
        producer_id=found.producer_id,
        producer_epoch=found.producer_epoch,
        transaction_result=False,
        topics=[topic],
        coordinator_epoch=max(0, found.coordinator_epoch),
    )
    connection = client.leader(found.topic, found.partition)
    response = connection.request(ApiKey.WRITE_TXN_MARKERS, WriteTxnMarkersRequest(markers=[marker]))
    (result,) = response.markers[0].topics[0].partitions
    check(result.error_code, f"Abort marker for {found.topic}-{found.partition}")
