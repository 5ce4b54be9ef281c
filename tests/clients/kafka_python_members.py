"""kafka-python's members of a group: as the library is, and as users make it go on from what is committed."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaConnectionError

from tests.clients.group_members import Seen, in_python


class KafkaPython:
    """A `GroupConsumer`."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topic: str,
        listener: ConsumerRebalanceListener | None = None,
        **settings: Any,
    ) -> None:
        self._consumer = KafkaConsumer(**{**in_python(bootstrap, group), **settings})
        self._consumer.subscribe([topic], listener=listener)

    def poll(self) -> list[Seen]:
        polled = self._consumer.poll(timeout_ms=100)
        return [(record.partition, record.offset) for records in polled.values() for record in records]

    def commit(self) -> None:
        self._consumer.commit()

    def assignment(self) -> set[int]:
        return {position.partition for position in self._consumer.assignment()}

    def close(self) -> None:
        self._consumer.close()


class GivenAgain(ConsumerRebalanceListener):
    """`again` is what a member had before a rebalance and has after it, until somebody clears it.

    kafka-python goes on there from where the member itself had been. If it missed a generation, somebody else may
    have gone further since (`compat/kafka-python/FINDINGS.md`).
    """

    def __init__(self) -> None:
        self.again: set[TopicPartition] = set()
        self._had: set[TopicPartition] = set()

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._had = set(revoked)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.again = set(assigned) & self._had


class Punctual(KafkaPython):
    """Goes on from what is committed, whatever it had before."""

    def __init__(
        self, bootstrap: str, group: str, topic: str, listener: GivenAgain | None = None, **settings: Any
    ) -> None:
        self._given = listener or GivenAgain()
        super().__init__(bootstrap, group, topic, self._given, **settings)

    def poll(self) -> list[Seen]:
        # A poll may join and fetch in one go: what it fetched of such a partition is not to be looked at.
        seen = super().poll()
        again = {position.partition for position in self._given.again}
        with suppress(KafkaConnectionError):
            self._seek_to_committed()
        return [(partition, offset) for partition, offset in seen if partition not in again]

    def commit(self) -> None:
        self._seek_to_committed()  # unless it is done: else its old position were committed
        super().commit()

    def _seek_to_committed(self) -> None:
        for position in tuple(self._given.again):
            offset = self._consumer.committed(position)
            if offset is None:
                self._consumer.seek_to_beginning(position)
            else:
                self._consumer.seek(position, offset)
            self._given.again.discard(position)
