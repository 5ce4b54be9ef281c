"""Fetch (key 1), versions 0 to 18.

v0  magic 0 (converted)            v2  magic 1 (converted)        v3  max_bytes, ordered partitions (KIP-74)
v4  isolation level, magic 2       v5  log start offset           v7  sessions (KIP-227)
v9  leader epoch (KIP-320)         v10 zstd (KIP-110)             v11 rack id (KIP-392)
v12 flexible, last fetched epoch   v13 topic ids (KIP-516)        v15 replica state
v16 node endpoints (KIP-951)       v17 directory id               v18 high watermark of the fetcher

The rack is taken note of nowhere: there is one replica of everything, so no nearer one can be preferred.
Fetches of replicas (replica id >= 0) are served as a consumer's: there are no followers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.fetching.fetch import Fetch, FetchLimits
from broker.fetching.reading import Terms
from broker.fetching.sessions import (
    FINAL_EPOCH,
    INITIAL_EPOCH,
    NO_SESSION,
    FetchedPartition,
    FetchKey,
    FetchSession,
    Wanted,
)
from protocol.errors import ApiError
from protocol.messages.fetch import FetchRequest, FetchResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_SESSION_VERSION: Final = 7
_TOPIC_ID_VERSION: Final = 13
_UNLIMITED: Final = 2**31 - 1


def handle(broker: Broker, request: Request) -> Any:
    message: FetchRequest = request.message
    version = request.version
    try:
        wanted, session, is_incremental = _resolve(broker, message, version)
    except ApiError as error:
        return FetchResponse(error_code=error.code)
    max_bytes = min(message.max_bytes if version >= 3 else _UNLIMITED, broker.fetch_max_bytes)
    limits = FetchLimits(min(message.min_bytes, max_bytes), max_bytes)
    fetch = Fetch(broker, Terms(version, message.isolation_level), limits, wanted, session, is_incremental)
    reads = fetch.read()
    if message.max_wait_ms <= 0 or fetch.suffices(reads):
        return fetch.respond(reads)
    return fetch.park(reads, message.max_wait_ms)


def _resolve(broker: Broker, message: FetchRequest, version: int) -> tuple[Wanted, FetchSession | None, bool]:
    """The partitions to serve, the session they belong to, and whether the answer tells changes only."""
    uses_topic_ids = version >= _TOPIC_ID_VERSION
    named = _named(message, uses_topic_ids)
    epoch = message.session_epoch if version >= _SESSION_VERSION else FINAL_EPOCH
    sessions = broker.fetch_sessions
    if epoch in (INITIAL_EPOCH, FINAL_EPOCH):
        if message.session_id != NO_SESSION:
            sessions.close(message.session_id)
        if epoch == FINAL_EPOCH:
            return named, None, False
        return named, sessions.create(named, uses_topic_ids, broker.clock_ms()), False
    session = sessions.use(message.session_id, epoch, uses_topic_ids, broker.clock_ms())
    session.update(named, _forgotten(message, uses_topic_ids))
    return session.partitions, session, True


def _named(message: FetchRequest, uses_topic_ids: bool) -> Wanted:
    named: Wanted = {}
    for fetch_topic in message.topics:
        topic: bytes | str = fetch_topic.topic_id if uses_topic_ids else fetch_topic.topic
        for partition in fetch_topic.partitions:
            named[topic, partition.partition] = FetchedPartition(
                topic,
                partition.fetch_offset,
                partition.partition_max_bytes,
                partition.current_leader_epoch,
                partition.last_fetched_epoch,
            )
    return named


def _forgotten(message: FetchRequest, uses_topic_ids: bool) -> list[FetchKey]:
    return [
        (topic.topic_id if uses_topic_ids else topic.topic, index)
        for topic in message.forgotten_topics_data
        for index in topic.partitions
    ]
