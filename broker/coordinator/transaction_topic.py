"""`__transaction_state` as the coordinator uses it, and where the markers of its transactions are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.offsets_topic import OffsetsTopic, internal_settings
from broker.topics.commands import NewTopic
from broker.topics.names import CONSUMER_OFFSETS, TRANSACTION_STATE
from protocol.records import end_transaction_marker, parse_batches

if TYPE_CHECKING:
    from broker.coordinator.transaction_ports import Marker
    from broker.runtime import Broker
    from broker.topics.partition import DurabilityWaiter, Partition


class TransactionsTopic(OffsetsTopic):
    """The topic in the catalog, with a checkpoint: as `OffsetsTopic`."""

    NAME = TRANSACTION_STATE

    def _new_topic(self) -> NewTopic:
        config = self._broker.config
        return NewTopic(
            self.NAME,
            self._broker.new_id(),
            config["transaction.state.log.num.partitions"],
            config["transaction.state.log.replication.factor"],
            settings=internal_settings(config["transaction.state.log.segment.bytes"]),
        )

    def coordinator_epoch(self, index: int) -> int:
        return self._partition(index).leader_epoch

    def end_offset(self, index: int) -> int:
        return self._partition(index).log.log_end_offset

    def durable_offset(self, index: int) -> int:
        return self._partition(index).log.durable_offset


class PartitionMarkers:
    """`Markers` on the partitions of this broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._built = bytearray()  # the last marker, which is the same for all partitions of a transaction
        self._built_for: tuple[Marker, int] | None = None

    def _find(self, topic: str, partition: int) -> Partition | None:
        found = self._broker.catalog.topics.get(topic)
        return found.partition(partition) if found is not None else None

    def append(self, topic: str, partition: int, marker: Marker, now_ms: int) -> bool:
        """As `Markers.append`: raises ApiError, DiskFull, StorageFailed."""
        found = self._find(topic, partition)
        if found is None:
            return False
        log = found.log
        log.producers.check_marker(
            marker.producer_id, marker.producer_epoch, marker.coordinator_epoch, marker.transaction_version
        )
        if self._built_for != (marker, now_ms):
            self._built_for = (marker, now_ms)
            self._built = end_transaction_marker(
                marker.is_committed,
                producer_id=marker.producer_id,
                producer_epoch=marker.producer_epoch,
                coordinator_epoch=marker.coordinator_epoch,
                timestamp=now_ms,
            )
        view = memoryview(bytearray(self._built))
        log.append(view, parse_batches(view), now_ms, check_producers=False)
        self._broker.write_succeeded()
        if topic == CONSUMER_OFFSETS:
            self._broker.groups.end_transaction(partition, marker.producer_id, marker.is_committed)
        return True

    def when_durable(self, topic: str, partition: int, waiter: DurabilityWaiter) -> bool:
        found = self._find(topic, partition)
        return found is not None and found.when_durable(found.log.log_end_offset, waiter)
