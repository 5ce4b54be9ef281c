"""Producer ids (KIP-98): blocks are made durable by the catalog before their first id is handed out.

So an id is never given twice, not even across a crash; a crash wastes the rest of a block, of 2^63.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from broker.request import Deferred
from broker.topics.commands import AllocateProducerIds, Result
from protocol.errors import ApiError

if TYPE_CHECKING:
    from broker.topics.catalog import Catalog

BLOCK_SIZE: Final = 1000
"""As Kafka's ProducerIdsBlock."""


class ProducerIds:
    """Hands out ids in ascending order."""

    def __init__(self, catalog: Catalog, block_size: int = BLOCK_SIZE) -> None:
        self._catalog = catalog
        self._block_size = block_size
        self._block = range(0)
        self._waiting: deque[Deferred[int | ApiError]] = deque()
        self._is_allocating = False

    async def next(self) -> int:
        """An id nobody had before. Raises ApiError (KAFKA_STORAGE_ERROR) where none could be made durable."""
        got = await self.take()
        if isinstance(got, ApiError):
            raise got
        return got

    def take(self) -> Deferred[int | ApiError]:
        """As `next`, without a coroutine."""
        deferred: Deferred[int | ApiError] = Deferred()
        self._waiting.append(deferred)
        self._serve()
        return deferred

    def _serve(self) -> None:
        while self._waiting and self._block:
            producer_id, self._block = self._block[0], self._block[1:]
            self._waiting.popleft().resolve(producer_id)
        if self._waiting and not self._is_allocating:
            self._is_allocating = True
            self._catalog.submit(AllocateProducerIds(self._block_size)).then(self._allocated)

    def _allocated(self, results: list[Result]) -> None:
        self._is_allocating = False
        (result,) = results
        if result.is_success:
            assert not self._block
            self._block = result.value
            self._serve()
            return
        waiting, self._waiting = self._waiting, deque()
        for deferred in waiting:
            deferred.resolve(ApiError(result.error, result.message))
