"""Where the offsets of a group are put: a plan first, in which every partition has its old and its new offset.

Kafka's kafka-consumer-groups decides alike: what is outside a log is moved to its nearer end; a moment after the
last record is the end.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from broker.cli import admin
from broker.cli import groups_requests as requests
from broker.cli.client import Client, TopicPartition, find_partition
from broker.cli.errors import CommandFailed

_PLAN_COLUMNS = 3  # topic,partition,offset
_PLAN_COLUMNS_WITH_GROUP = 4


@dataclass(slots=True, frozen=True)
class Target:
    """Where to: exactly one of the fields is not None. EARLIEST and LATEST are timestamps, as in ListOffsets."""

    timestamp: int | None = None
    offset: int | None = None
    shift: int | None = None
    offsets: Mapping[TopicPartition, int] | None = None


@dataclass(slots=True, frozen=True)
class Move:
    """One partition of a plan. `wanted` lies outside the log where it differs from `new`."""

    topic: str
    partition: int
    old: int | None
    wanted: int
    new: int


def parse_topics(texts: Iterable[str]) -> dict[str, list[int] | None]:
    """`topic` or `topic:0,1,2` -> {topic: partitions, or None for all}. Raises CommandFailed.

    A topic may be named more than once: its partitions are all those that are named, or all there are.
    """
    topics: dict[str, list[int] | None] = {}
    for text in texts:
        name, colon, listed = text.partition(":")
        indexes = listed.split(",")
        if not name or (colon and not all(part.isascii() and part.isdigit() for part in indexes)):
            raise CommandFailed(f"{text!r} is neither TOPIC nor TOPIC:PARTITION,PARTITION.")
        before = topics.get(name, [])
        topics[name] = (
            sorted({int(part) for part in indexes} | {*before}) if colon and before is not None else None
        )
    return topics


def partitions_of(client: Client, topics: Mapping[str, Sequence[int] | None]) -> list[TopicPartition]:
    """Return the partitions that `topics` names. Raises CommandFailed if one does not exist."""
    found: list[TopicPartition] = []
    for name, indexes in topics.items():
        topic = client.topic(name, refresh=True)
        wanted = [p.partition_index for p in topic.partitions] if indexes is None else indexes
        found += [(name, find_partition(topic, index).partition_index) for index in wanted]
    return found


def plan(
    client: Client,
    partitions: Iterable[TopicPartition],
    committed: Mapping[TopicPartition, int],
    target: Target,
) -> list[Move]:
    """Return where each partition goes from where. Raises CommandFailed if one does not exist or cannot be shifted."""
    wanted = sorted(partitions)
    known = requests.existing_partitions(client, wanted)
    for topic, index in wanted:
        if index not in known.get(topic, ()):
            raise CommandFailed(f"There is no partition {topic}-{index}, or it has no leader.")
    earliest = requests.offsets_at(client, known, admin.EARLIEST)
    latest = requests.offsets_at(client, known, admin.LATEST)
    aims = _aims(client, wanted, known, committed, target)
    moves = []
    for where in wanted:
        aim = aims[where] if aims[where] >= 0 or target.timestamp is None else latest[where]
        new = min(max(aim, earliest[where]), latest[where])
        moves.append(Move(*where, committed.get(where), aim, new))
    return moves


def _aims(
    client: Client,
    wanted: Sequence[TopicPartition],
    known: requests.Assignment,
    committed: Mapping[TopicPartition, int],
    target: Target,
) -> dict[TopicPartition, int]:
    if target.timestamp is not None:
        return requests.offsets_at(client, known, target.timestamp)
    if target.offset is not None:
        return dict.fromkeys(wanted, target.offset)
    if target.offsets is not None:
        return {where: target.offsets[where] for where in wanted}
    assert target.shift is not None
    for topic, index in wanted:
        if (topic, index) not in committed:
            raise CommandFailed(
                f"The group has no offset in {topic}-{index} that could be shifted.",
                "Name the partitions with --topic TOPIC:PARTITION,…",
            )
    return {where: committed[where] + target.shift for where in wanted}


def to_csv(moves: Iterable[Move]) -> str:
    """Return the plan as kafka-consumer-groups exports and imports it: `topic,partition,offset`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((move.topic, move.partition, move.new) for move in moves)
    return text.getvalue()


def from_csv(lines: Iterable[str], group_id: str) -> dict[TopicPartition, int]:
    """`topic,partition,offset`, or `group,topic,partition,offset` of which other groups are left out. Raises
    CommandFailed naming the line.
    """
    offsets: dict[TopicPartition, int] = {}
    reader = csv.reader(_text_lines(lines))
    for row in reader:
        if not row:
            continue
        if len(row) == _PLAN_COLUMNS_WITH_GROUP:
            group, *row = row
            if group != group_id:
                continue
        numbers = row[1:]
        if len(row) != _PLAN_COLUMNS or not all(
            part.isascii() and part.strip().isdigit() for part in numbers
        ):
            raise CommandFailed(f"Line {reader.line_num} of the plan is not topic,partition,offset.")
        where = row[0], int(row[1])
        if offsets.setdefault(where, int(row[2])) != int(row[2]):
            raise CommandFailed(f"The plan names {where[0]}-{where[1]} twice, with different offsets.")
    if not offsets:
        raise CommandFailed(f"The plan has nothing for group {group_id}.")
    return offsets


def _text_lines(lines: Iterable[str]) -> Iterable[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise CommandFailed("The plan is not UTF-8 text.") from error
