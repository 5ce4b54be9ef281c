"""The parts of a broker that are made when they are first needed: their modules are a good part of a start's time, and
many brokers never need them.

    groups         groups and their offsets     the first request of a group, or at the start if there are any
    transactions   transactions                 the first of a transaction, or at the start if there are any
    tables         topics into their tables     the first record of a topic that has one, or at the start
    compaction     compacted topics             the first look at one

Whatever concerns those that were made, and only those, is here: deletions, checkpoints, the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from broker.topics.names import TRANSACTION_STATE

if TYPE_CHECKING:
    from broker.compacting.supervisor import Compaction
    from broker.coordinator.coordinator import GroupCoordinator
    from broker.coordinator.transaction_coordinator import TransactionCoordinator
    from broker.runtime import Broker
    from broker.tiering.supervisor import Tables
    from broker.topics.catalog import Topic
    from wal.data_folder import DataFolder


class Parts:
    """What has been made so far: `made_…` is None before. Asking for a part makes it, loaded and at work."""

    def __init__(self, broker: Broker, folder: DataFolder) -> None:
        self._broker = broker
        self._folder = folder
        self.made_groups: GroupCoordinator | None = None
        self.made_transactions: TransactionCoordinator | None = None
        self.made_tables: Tables | None = None
        self.made_compaction: Compaction | None = None

    @property
    def groups(self) -> GroupCoordinator:
        if self.made_groups is None:
            self.made_groups = self._make_groups()
        return self.made_groups

    @property
    def transactions(self) -> TransactionCoordinator:
        if self.made_transactions is None:
            self.made_transactions = self._make_transactions()
        return self.made_transactions

    @property
    def tables(self) -> Tables:
        if self.made_tables is None:
            self.made_tables = self._make_tables()
        return self.made_tables

    @property
    def compaction(self) -> Compaction:
        if self.made_compaction is None:
            self.made_compaction = self._make_compaction()
        return self.made_compaction

    # --- making -----------------------------------------------------------------------------------------------

    def _make_groups(self) -> GroupCoordinator:
        from broker.coordinator.consumer_catalog import CatalogTopics
        from broker.coordinator.coordinator import GroupCoordinator
        from broker.coordinator.offsets_topic import OffsetsTopic
        from broker.coordinator.settings import GroupSettings

        broker = self._broker
        settings = GroupSettings.of(broker.config)
        topics = CatalogTopics(broker.catalog)
        offsets_topic = OffsetsTopic(broker, f"{broker.config.data_dir}/groups.checkpoint")
        groups = GroupCoordinator(offsets_topic, broker, settings, broker.flusher.kick, topics)
        groups.load()
        return groups

    def _make_transactions(self) -> TransactionCoordinator:
        from broker.coordinator.settings import TransactionSettings
        from broker.coordinator.transaction_coordinator import TransactionCoordinator
        from broker.coordinator.transaction_topic import PartitionMarkers, TransactionsTopic

        broker = self._broker
        transactions = TransactionCoordinator(
            TransactionsTopic(broker, f"{broker.config.data_dir}/transactions.checkpoint"),
            PartitionMarkers(broker),
            broker.producer_ids,
            broker,
            TransactionSettings.of(broker.config),
            broker.flusher.kick,
        )
        transactions.load()
        return transactions

    def _make_tables(self) -> Tables:
        from broker.tiering.supervisor import Tables

        tables = Tables(self._broker, self._folder)
        tables.load()
        self._broker.supervise("tables", tables.run())
        return tables

    def _make_compaction(self) -> Compaction:
        from broker.compacting.supervisor import Compaction

        compaction = Compaction(self._broker, self._folder)
        self._broker.supervise("compaction", compaction.run())
        return compaction

    # --- what concerns those that were made ---------------------------------------------------------------------

    def topic_goes(self, topic: Topic) -> None:
        """A topic is deleted, its logs are still there."""
        if self.made_tables is not None:
            self.made_tables.topic_deleted(topic)
        if self.made_compaction is not None:
            self.made_compaction.topic_deleted(topic.name)

    def topic_gone(self, topic: Topic) -> None:
        """A topic is deleted, and so are its logs."""
        if self.made_groups is not None:  # else nothing has been stored, or the loading of groups sees to it
            self.made_groups.topic_deleted(topic.name)
        if self.made_transactions is not None and topic.name == TRANSACTION_STATE:
            self.made_transactions.forget_everything()

    def topic_reconfigured(self, topic: Topic) -> None:
        """A topic's configuration was replaced: it may have a table from now on, or none any more."""
        if self.made_tables is not None or topic.has_table:
            self.tables.topic_reconfigured(topic)

    def checkpoint_steps(self) -> Iterator[Callable[[], None]]:
        """What saves the state of coordinators, in steps of a few milliseconds; without them there is nothing new."""
        if self.made_groups is not None:
            yield from self.made_groups.checkpoint_steps()
        if self.made_transactions is not None:
            yield from self.made_transactions.checkpoint_steps()

    # --- the end ------------------------------------------------------------------------------------------------

    def release_waiting(self) -> None:
        """Answer whoever waits for others: nobody is to come any more."""
        if self.made_groups is not None:
            self.made_groups.release_waiting()

    async def end_workers(self, timeout_s: Callable[[], float]) -> None:
        """End child processes. `timeout_s` says how much time is left."""
        if self.made_tables is not None:
            await self.made_tables.close(timeout_s())
        if self.made_compaction is not None:
            await self.made_compaction.close()

    def close(self) -> None:
        """Save what the next start reads. Nothing is asked of any part afterwards."""
        if self.made_groups is not None:
            self.made_groups.close()
        if self.made_transactions is not None:
            self.made_transactions.close()
