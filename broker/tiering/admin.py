"""What Floe's own admin API answers about tables: the operations `tables.*`.

    tables.list       {}                       {"tables": [{topic, table, metadata_location}]}
    tables.describe   {"topics": [...]}        {"tables": [everything that is known]}
    tables.lag        {"topics": [...]}        {"tables": [{topic, table, lag_records, lag_seconds, error}]}
    tables.commit     {"topics": [...]}        as tables.lag, once what was durable when asked is committed, or failed
    tables.maintain   {"topic", "parts"}       what was merged, expired and removed
    tables.rewind     {"topic", "offsets"}     as tables.describe of the topic; {"<partition>": first offset to redo}

Without `topics` it is all that have a table. `error` is why the last commit failed, `maintenance_error` and
`maintenance_failed_ms` why and when the broker's last maintenance did; null once one succeeds.
`tabled`, `metadata_location` and `dead_letters_metadata_location` of a topic belong to one commit: whoever reads the
table as of that metadata and the log from `tabled` on, up to the last stable offset, sees every record once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from broker.config_tables import CATALOG_PREFIX, catalog_property
from broker.tiering import names
from broker.tiering.settings import TableSettings
from broker.worker.process import JobFailed, WorkerClosed, WorkerDied
from protocol.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.topics.catalog import Topic
    from wal.log import Log

MAINTENANCE_PARTS: Final = ("compact", "expire", "orphans")
MASK: Final = "***"
_PASSWORD: Final = re.compile(r"(?<=://)([^/@:]*):[^/@]+(?=@)")


def list_tables(broker: Broker, arguments: dict[str, Any]) -> dict[str, Any]:
    """Every topic that has a table, or will have with its first commit."""
    return {"tables": [_head(broker, topic) for topic in _topics(broker, arguments)]}


async def describe(broker: Broker, arguments: dict[str, Any]) -> dict[str, Any]:
    """All that is known of tables, ready to be pasted into engines."""
    return {"tables": [_description(broker, topic) async for topic in _in_turns(broker, arguments)]}


async def lag(broker: Broker, arguments: dict[str, Any]) -> dict[str, Any]:
    """How far tables are behind their topics."""
    return {"tables": [_lag(broker, topic) async for topic in _in_turns(broker, arguments)]}


async def _in_turns(broker: Broker, arguments: dict[str, Any]) -> AsyncIterator[Topic]:
    """One topic a turn of the loop: looking at one opens the logs of its partitions, and there may be thousands."""
    for topic in _topics(broker, arguments):
        if topic.topic_id in broker.catalog.by_id:
            yield topic
            await asyncio.sleep(0)


async def commit(broker: Broker, arguments: dict[str, Any]) -> dict[str, Any]:
    """Commit now what is durable now."""
    topics = _topics(broker, arguments)
    for topic in topics:
        await broker.tables.commit_now(topic)
    return {"tables": [_lag(broker, topic) for topic in topics]}


async def maintain(broker: Broker, arguments: dict[str, Any]) -> dict[str, Any]:
    """Merge files, expire snapshots and remove orphans now: as the topic's settings allow, or just the `parts`."""
    parts = arguments.get("parts")
    if parts is not None and not (
        isinstance(parts, list) and all(part in MAINTENANCE_PARTS for part in parts)
    ):
        raise ApiError(ErrorCode.INVALID_REQUEST, f"parts is to be a list of {list(MAINTENANCE_PARTS)}")
    return await _have_done(broker, _topic(broker, arguments), "maintain", force=True, parts=parts)


async def rewind(broker: Broker, arguments: dict[str, Any]) -> dict[str, Any]:
    """Take rows out of the table, to be read from the log again."""
    topic = _topic(broker, arguments)
    offsets = arguments.get("offsets")
    if not isinstance(offsets, dict) or not offsets:
        raise ApiError(ErrorCode.INVALID_REQUEST, "offsets is to be {partition: offset}")
    for index, offset in offsets.items():
        partition = topic.partition(int(index)) if index.isdecimal() else None
        if partition is None or not isinstance(offset, int):
            raise ApiError(ErrorCode.INVALID_REQUEST, f"topic {topic.name} has no partition {index}")
        start = partition.log.log_start_offset
        if offset < start:
            raise ApiError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"{topic.name}-{index} begins at offset {start}: what lies before could not be read again",
            )
    await _have_done(broker, topic, "rewind", offsets=offsets)
    return _description(broker, topic)


async def _have_done(broker: Broker, topic: Topic, kind: str, **fields: Any) -> dict[str, Any]:
    try:
        return await broker.tables.have_done(topic, kind, **fields)
    except (JobFailed, WorkerDied, WorkerClosed) as failure:
        raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, str(failure)) from failure


def _topic(broker: Broker, arguments: dict[str, Any]) -> Topic:
    topic = broker.catalog.topics.get(str(arguments.get("topic")))
    if topic is None:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {arguments.get('topic')}")
    if not topic.has_table:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"topic {topic.name} has no table (floe.table.enable)")
    return topic


def _topics(broker: Broker, arguments: dict[str, Any]) -> list[Topic]:
    asked = arguments.get("topics")
    if asked is None:
        return [topic for _, topic in sorted(broker.catalog.topics.items()) if topic.has_table]
    if not isinstance(asked, list):
        raise ApiError(ErrorCode.INVALID_REQUEST, "topics is to be a list of names")
    return [_topic(broker, {"topic": name}) for name in asked]


def _head(broker: Broker, topic: Topic) -> dict[str, Any]:
    tabled = broker.tables.tabled.topics.get(topic.topic_id)
    return {
        "topic": topic.name,
        "table": (tabled.table if tabled is not None else None) or _table_name(broker, topic),
        "metadata_location": tabled.metadata_location if tabled is not None else None,
    }


def _table_name(broker: Broker, topic: Topic) -> str | None:
    """What the table is or will be called; None where the template gives no name."""
    try:
        template = topic.config["floe.table.name.template"]
        return ".".join(names.table_identifier(topic.name, broker.tables.catalog.namespace, template))
    except names.InvalidTemplate:
        return None


def _lag(broker: Broker, topic: Topic) -> dict[str, Any]:
    tables = broker.tables
    since_ms = tables.planner.waiting_since_ms(topic.topic_id)
    records = sum(partition["lag_records"] for partition in _partitions(broker, topic))
    waiting_ms = max(0, broker.clock_ms() - since_ms) if since_ms is not None and records else 0
    return _head(broker, topic) | {
        "lag_records": records,
        "lag_seconds": waiting_ms / 1000,
        "error": tables.errors.get(topic.topic_id),
    }


def _partitions(broker: Broker, topic: Topic) -> list[dict[str, Any]]:
    """Of each partition that ever had a record: how far log and table are, and what holds the table back."""
    tables = broker.tables
    held = tables.behind.held.get(topic.topic_id, {})
    found = []
    for index in range(topic.partition_count):
        if not broker.logs.has_records(topic, index):
            continue
        partition = topic.partition(index)
        assert partition is not None
        opened = partition.log
        tabled_offset = max(tables.tabled_offset(topic, index), opened.log_start_offset)
        found.append(
            {
                "partition": index,
                "log_start_offset": opened.log_start_offset,
                "tabled_offset": tabled_offset,
                "last_stable_offset": opened.last_stable_offset,
                "high_watermark": opened.high_watermark,
                "lag_records": max(0, opened.last_stable_offset - tabled_offset),
                "held_back_by": held.get(index) or _open_transaction(broker, opened),
            }
        )
    return found


def _open_transaction(broker: Broker, opened: Log) -> str | None:
    """Which transaction keeps the last stable offset from the end; None if none does."""
    offset = opened.last_stable_offset
    if offset == opened.high_watermark:
        return None
    first = opened.producers.oldest_open_transaction()
    if first is None or first[1] != offset:
        return f"a transaction since offset {offset} that is ending"
    producer_id = first[0]
    known = broker.transactions.transactions.of_producer(producer_id)
    who = f"producer {producer_id}, which nobody knows"
    if known is not None:
        who = f"{known.transactional_id}, producer {producer_id}"
    return f"a transaction that is open since offset {offset}: {who}"


def _description(broker: Broker, topic: Topic) -> dict[str, Any]:
    tables = broker.tables
    tabled = tables.tabled.topics.get(topic.topic_id)
    unmaintained = tables.unmaintained.get(topic.topic_id)
    fields = ("dead_letters_metadata_location", "snapshot_id", "committed_ms", "records", "dead_letters")
    return _lag(broker, topic) | {
        **{name: getattr(tabled, name, None) for name in fields},
        "maintenance_error": unmaintained.reason if unmaintained is not None else None,
        "maintenance_failed_ms": unmaintained.failed_ms if unmaintained is not None else None,
        "tabled": {str(index): offset for index, offset in tabled.offsets.items()}
        if tabled is not None
        else {},
        "partitions": _partitions(broker, topic),
        "settings": TableSettings.of(topic.config.values).to_json(),
        "catalog": tables.catalog.to_json() | {"properties": masked(tables.catalog.properties)},
    }


def masked(properties: dict[str, str] | Any) -> dict[str, str]:
    """Catalog properties without their secrets; a password in a URL is hidden, the rest of it shown."""
    shown = {}
    for name, value in properties.items():
        visible = _PASSWORD.sub(rf"\1:{MASK}", value)
        setting = catalog_property(CATALOG_PREFIX + name, None)
        assert setting is not None
        shown[name] = MASK if setting.is_sensitive else visible
    return shown
