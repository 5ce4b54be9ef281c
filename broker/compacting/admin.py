"""`floe compact` at the broker: what can be asked of compaction over the private admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.compacting.planning import Candidate
from broker.compacting.supervisor import Compaction, RoundState
from protocol.errors import ApiError, ErrorCode
from wal.checkpoint import TopicPartition

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.topics.catalog import Topic


def compact_now(broker: Broker, arguments: dict[str, Any]) -> dict[str, Any]:
    """Compact a topic's partitions, or `partition`, next: {"partitions": [...]} are those that have records."""
    topic = _topic(broker, arguments.get("topic"))
    if not broker.config["log.cleaner.enable"]:
        raise ApiError(ErrorCode.INVALID_REQUEST, "compaction is switched off (log.cleaner.enable)")
    wanted = arguments.get("partition")
    indexes = range(topic.partition_count) if wanted is None else [wanted]
    for index in indexes:
        if not isinstance(index, int) or not 0 <= index < topic.partition_count:
            raise ApiError(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                f"{topic.name} has partitions 0 to {topic.partition_count - 1}, not {index}",
            )
    keys = [TopicPartition(topic.name, index) for index in indexes if broker.logs.has_records(topic, index)]
    broker.compaction.request(keys)
    return {"partitions": [key.partition for key in keys]}


async def compact_status(broker: Broker, arguments: dict[str, Any]) -> dict[str, Any]:
    """How clean every compacted partition is, of one topic or of all, and what became of its last round."""
    topic = _topic(broker, arguments["topic"]).name if arguments.get("topic") is not None else None
    compaction = broker.compaction
    partitions = [
        _partition_status(compaction, key, candidate) for key, candidate in await compaction.measured(topic)
    ]
    return {"enabled": broker.config["log.cleaner.enable"], "partitions": partitions}


def _topic(broker: Broker, name: object) -> Topic:
    topic = broker.catalog.topics.get(name) if isinstance(name, str) else None
    if topic is None:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {name!r}")
    if not topic.config.is_compacted:
        raise ApiError(
            ErrorCode.INVALID_REQUEST, f"{topic.name} is not compacted: its cleanup.policy has no compact"
        )
    return topic


def _partition_status(
    compaction: Compaction, key: TopicPartition, candidate: Candidate | None
) -> dict[str, Any]:
    status: dict[str, Any] = {
        "topic": key.topic,
        "partition": key.partition,
        "state": "idle",
        "problem": compaction.uncleanable.get(key),
        "failures": 0,
        "next_try_ms": None,
    }
    failures = compaction.failures.get(key)
    if failures is not None:
        status |= {"state": "paused", "failures": failures.count, "next_try_ms": failures.next_try_ms}
    if candidate is not None:
        status |= {
            "first_dirty_offset": candidate.first_dirty_offset,
            "end_offset": candidate.end_offset,
            "clean_bytes": candidate.clean_bytes,
            "dirty_bytes": candidate.dirty_bytes,
            "held_by": candidate.held_by,
            "dirty_ratio": round(candidate.dirty_ratio, 4),
        }
    running = compaction.running
    if running is not None and running.key == key:
        # What is cleaned is read once, what is dirty twice: for its keys, and to be rewritten.
        total = running.candidate.clean_bytes + 2 * running.candidate.dirty_bytes
        status |= {"state": "running", "progress": round(min(1.0, running.read_bytes / max(1, total)), 3)}
    elif key in compaction.requested:
        status["state"] = "waiting"
    elif key in compaction.uncleanable:
        status["state"] = "failed"
    last = compaction.results.get(key)
    status["last_round"] = _round(last) if last is not None else None
    return status


def _round(state: RoundState) -> dict[str, Any]:
    return {
        "started_ms": state.started_ms,
        "ended_ms": state.ended_ms,
        "error": state.error or None,
        **state.totals,
    }
