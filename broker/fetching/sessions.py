"""Fetch sessions (KIP-227): the broker remembers what a fetcher fetches, so that requests and responses name only
what changed.

A session is a value of this process only: after a restart its id is unknown (FETCH_SESSION_ID_NOT_FOUND) and the
client begins a new one. Ids are random so that a client of an earlier process does not hit another's session.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NewType

from protocol.errors import ApiError, ErrorCode

SessionId = NewType("SessionId", int)
FetchKey = tuple[bytes | str, int]
"""(topic id from v13, topic name before; partition)."""

NO_SESSION: Final = SessionId(0)
INITIAL_EPOCH: Final = 0
FINAL_EPOCH: Final = -1
_MAX_EPOCH: Final = 2**31 - 1
UNKNOWN_WATERMARK: Final = -1


class FetchedPartition:
    """What a fetcher asked for one partition, and what it was last told."""

    __slots__ = (
        "current_leader_epoch",
        "fetch_offset",
        "last_fetched_epoch",
        "max_bytes",
        "told_high_watermark",
        "told_log_start_offset",
        "topic",
    )

    def __init__(
        self,
        topic: bytes | str,
        fetch_offset: int,
        max_bytes: int,
        current_leader_epoch: int,
        last_fetched_epoch: int,
    ) -> None:
        self.topic = topic
        self.told_high_watermark = UNKNOWN_WATERMARK
        self.told_log_start_offset = UNKNOWN_WATERMARK
        self.ask(fetch_offset, max_bytes, current_leader_epoch, last_fetched_epoch)

    def ask(
        self, fetch_offset: int, max_bytes: int, current_leader_epoch: int, last_fetched_epoch: int
    ) -> None:
        """A later request of the session names this partition again."""
        self.fetch_offset = fetch_offset
        self.max_bytes = max_bytes
        self.current_leader_epoch = current_leader_epoch
        self.last_fetched_epoch = last_fetched_epoch


Wanted = dict[FetchKey, FetchedPartition]


class FetchSession:
    """The partitions of one fetcher, in the order they are served."""

    __slots__ = ("epoch", "last_used_ms", "partitions", "session_id", "uses_topic_ids")

    def __init__(self, session_id: SessionId, partitions: Wanted, uses_topic_ids: bool, now_ms: int) -> None:
        self.session_id = session_id
        self.partitions = partitions
        self.uses_topic_ids = uses_topic_ids
        self.epoch = 1
        self.last_used_ms = now_ms

    def update(self, named: Wanted, forgotten: Iterable[FetchKey]) -> None:
        """Take in what an incremental request names and forgets."""
        for key in forgotten:
            self.partitions.pop(key, None)
        for key, new in named.items():
            known = self.partitions.get(key)
            if known is None:
                self.partitions[key] = new
            else:
                known.ask(new.fetch_offset, new.max_bytes, new.current_leader_epoch, new.last_fetched_epoch)

    def move_to_end(self, key: FetchKey) -> None:
        """What was served goes to the end of the order, so that a byte limit starves nobody."""
        partition = self.partitions.pop(key, None)
        if partition is not None:
            self.partitions[key] = partition


class FetchSessions:
    """All sessions, bounded (`max.incremental.fetch.session.cache.slots`); the least recently used gives way once
    it has been idle for `min.incremental.fetch.session.eviction.ms`."""

    def __init__(self, slots: int, eviction_ms: int, new_id: Callable[[], int]) -> None:
        self._slots = slots
        self._eviction_ms = eviction_ms
        self._new_id = new_id
        self._sessions: OrderedDict[int, FetchSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def create(self, partitions: Wanted, uses_topic_ids: bool, now_ms: int) -> FetchSession | None:
        """A new session, or None when the cache is full of live ones: the fetch is then answered without."""
        if not partitions or not self._make_room(now_ms):
            return None
        session_id = self._new_id()
        while session_id == NO_SESSION or session_id in self._sessions:
            session_id = self._new_id()
        session = FetchSession(SessionId(session_id), partitions, uses_topic_ids, now_ms)
        self._sessions[session_id] = session
        return session

    def _make_room(self, now_ms: int) -> bool:
        if len(self._sessions) < self._slots:
            return True
        if not self._sessions:
            return False
        oldest = next(iter(self._sessions.values()))
        if now_ms - oldest.last_used_ms < self._eviction_ms:
            return False
        del self._sessions[oldest.session_id]
        return True

    def use(self, session_id: int, epoch: int, uses_topic_ids: bool, now_ms: int) -> FetchSession:
        """The session an incremental request continues; its epoch moves on. Raises ApiError 70, 71 or 106."""
        session = self._sessions.get(session_id)
        if session is None:
            raise ApiError(ErrorCode.FETCH_SESSION_ID_NOT_FOUND, f"fetch session {session_id} is not known")
        if session.epoch != epoch:
            raise ApiError(
                ErrorCode.INVALID_FETCH_SESSION_EPOCH,
                f"fetch session {session_id} is at epoch {session.epoch}, the request at {epoch}",
            )
        if session.uses_topic_ids != uses_topic_ids:
            raise ApiError(
                ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
                f"fetch session {session_id} changed between topic names and topic ids",
            )
        session.epoch = 1 if epoch == _MAX_EPOCH else epoch + 1
        session.last_used_ms = now_ms
        self._sessions.move_to_end(session_id)
        return session

    def close(self, session_id: int) -> None:
        self._sessions.pop(session_id, None)
