"""One Fetch request from its arrival to its answer.

A fetch reads every partition it wants at once. Where that yields fewer than `min_bytes` and there is no error to tell,
it parks: it joins the waiters of its partitions, and a timer. A partition that moves on is read again alone, to learn
whether the sum suffices; the answer is then read afresh, so that nothing is held while waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.fetching.reading import Read, Terms, read_partition
from broker.fetching.sessions import UNKNOWN_WATERMARK, FetchKey, FetchSession, Wanted
from broker.request import Deferred, Timer
from protocol.errors import ErrorCode
from protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData

if TYPE_CHECKING:
    from broker.fetching.sessions import FetchedPartition
    from broker.runtime import Broker
    from broker.topics.partition import Partition

_MAX_BYTES_VERSION: Final = 3  # KIP-74


class FetchLimits(NamedTuple):
    min_bytes: int
    max_bytes: int


class Fetch:
    """The partitions of one request (of its session, where it has one) and how they are answered."""

    def __init__(
        self,
        broker: Broker,
        terms: Terms,
        limits: FetchLimits,
        wanted: Wanted,
        session: FetchSession | None,
        is_incremental: bool,
    ) -> None:
        self._broker = broker
        self._terms = terms
        self._limits = limits
        self._wanted = list(wanted.items())
        self._session = session
        self._is_incremental = is_incremental

    def read(self) -> list[Read]:
        """Read every partition, within the byte limit of the whole response."""
        broker, terms = self._broker, self._terms
        left = self._limits.max_bytes
        is_old = terms.version < _MAX_BYTES_VERSION
        min_one_batch = True
        reads = []
        for (_, index), wanted in self._wanted:
            read = read_partition(
                broker, index, wanted, terms, max(min(wanted.max_bytes, left), 0), min_one_batch or is_old
            )
            if read.size:
                left -= read.size
                min_one_batch = False
            reads.append(read)
        return reads

    def suffices(self, reads: list[Read]) -> bool:
        """Whether the answer need not wait: enough bytes, or something else to tell."""
        if not reads:
            return True
        size = 0
        for read in reads:
            if read.partition is None:
                return True
            size += read.size
        return size >= self._limits.min_bytes

    def park(self, reads: list[Read], max_wait_ms: int) -> Deferred[FetchResponse]:
        parked = ParkedFetch(self, reads, self._limits.min_bytes)
        parked.timer = self._broker.call_later(max_wait_ms, parked.complete)
        return parked

    def read_again(self, position: int) -> Read:
        """Read one partition as if it were the only one, to learn how much it has by now."""
        (_, index), wanted = self._wanted[position]
        return read_partition(self._broker, index, wanted, self._terms, max(wanted.max_bytes, 0), True)

    def respond(self, reads: list[Read]) -> FetchResponse:
        """Assemble the response, and note in the session what it told."""
        session = self._session
        response = FetchResponse(session_id=session.session_id if session else 0)
        topics: dict[bytes | str, FetchableTopicResponse] = {}
        for (key, wanted), read in zip(self._wanted, reads, strict=True):
            if session is not None and not self._tell(session, key, wanted, read.data, read.size):
                continue
            topic = topics.get(wanted.topic)
            if topic is None:
                topic = topics[wanted.topic] = FetchableTopicResponse()
                if isinstance(wanted.topic, bytes):
                    topic.topic_id = wanted.topic
                else:
                    topic.topic = wanted.topic
                response.responses.append(topic)
            topic.partitions.append(read.data)
        return response

    def _tell(
        self, session: FetchSession, key: FetchKey, wanted: FetchedPartition, data: PartitionData, size: int
    ) -> bool:
        """Whether an incremental response includes the partition (KIP-227); notes what it then says."""
        is_told = (
            not self._is_incremental
            or size > 0
            or data.error_code != ErrorCode.NONE
            or data.high_watermark != wanted.told_high_watermark
            or data.log_start_offset != wanted.told_log_start_offset
            or data.diverging_epoch is not None
        )
        if data.error_code != ErrorCode.NONE:
            wanted.told_high_watermark = UNKNOWN_WATERMARK  # so that the end of the error is told, too
            wanted.told_log_start_offset = UNKNOWN_WATERMARK
        else:
            wanted.told_high_watermark = data.high_watermark
            wanted.told_log_start_offset = data.log_start_offset
        if size and self._is_incremental:
            session.move_to_end(key)
        return is_told


class ParkedFetch(Deferred[FetchResponse]):
    """A fetch that waits for records or for its time."""

    __slots__ = ("_fetch", "_missing_bytes", "_places", "timer")

    def __init__(self, fetch: Fetch, reads: list[Read], min_bytes: int) -> None:
        super().__init__()
        self.timer: Timer | None = None
        self._fetch = fetch
        self._missing_bytes = min_bytes
        self._places: dict[Partition, tuple[int, int]] = {}  # position in the fetch, bytes counted
        for position, read in enumerate(reads):
            assert read.partition is not None, "a fetch with an error to tell does not park"
            self._places[read.partition] = (position, read.size)
            self._missing_bytes -= read.size
            read.partition.progress_waiters[self] = None
            read.partition.log.flusher.is_awaited = True  # for what may be written and not synced yet

    def progressed(self, partition: Partition) -> None:
        """A partition's high watermark moved: answer if the bytes now suffice."""
        if partition not in self._places:
            return  # answered or abandoned in this same move
        position, counted = self._places[partition]
        read = self._fetch.read_again(position)
        self._missing_bytes -= read.size - counted
        self._places[partition] = (position, read.size)
        if self._missing_bytes <= 0 or read.partition is None:
            self.complete()

    def complete(self) -> None:
        """Answer with what there is."""
        if self.is_resolved:
            return
        self._leave()
        self.resolve(self._fetch.respond(self._fetch.read()))

    hurry = complete

    def abandon(self) -> None:
        """The client is gone: with a wait of days this would stay for days."""
        self._leave()

    def _leave(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        for partition in self._places:
            partition.progress_waiters.pop(self, None)
        self._places = {}
