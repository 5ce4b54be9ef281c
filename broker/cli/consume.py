"""`floe consume`: the records of a topic, formatted."""

import json
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

import click

from broker.cli import admin
from broker.cli.client import Address, Client, find_partition
from broker.cli.consumer import Consumer
from broker.cli.options import bootstrap_option, escaped, parse_moment
from broker.cli.output import Progress
from broker.cli.record_format import compile_format, record_json
from protocol.records import Record

_ISOLATION = {"read_uncommitted": admin.READ_UNCOMMITTED, "read_committed": admin.READ_COMMITTED}
_FLUSH_BYTES = 1 << 16

Formatter = Callable[[str, int, Record], bytes]


def _start(text: str) -> int | str:
    """`earliest`, `latest`, an offset (negative: so many before the end), `@ms` or an ISO date-time as
    `@ms`.
    """
    if text in ("earliest", "latest"):
        return text
    if text.removeprefix("-").isdigit():
        return int(text)
    try:
        return f"@{int(text[1:])}" if text.startswith("@") else f"@{parse_moment(text)}"
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r}; expected earliest, latest, an offset, @milliseconds or an ISO date-time"
        ) from error


@click.command()
@click.argument("topic")
@click.option(
    "--from",
    "start",
    type=_start,
    metavar="WHERE",
    default="earliest",
    show_default=True,
    help="earliest, latest, an offset, -N (the last N of each partition), @MS or an ISO date-time.",
)
@click.option(
    "-p",
    "--partition",
    "only",
    type=click.IntRange(min=0),
    metavar="N",
    multiple=True,
    help="Read only this partition. May be repeated.",
)
@click.option("-n", "--count", type=click.IntRange(min=0), metavar="N", help="Stop after so many records.")
@click.option("-e", "--until-end", is_flag=True, help="Stop at the end the topic had at the start.")
@click.option(
    "-f",
    "--format",
    "layout",
    type=escaped,
    metavar="FORMAT",
    default="%v\\n",
    show_default=True,
    help="%t topic, %p partition, %o offset, %T timestamp, %k key, %v value, %h headers, %K %S lengths, %%.",
)
@click.option("--null", type=escaped, metavar="TEXT", default="", help="Print this for a null key or value.")
@click.option(
    "--isolation",
    type=click.Choice(list(_ISOLATION)),
    default="read_uncommitted",
    show_default=True,
    help="read_committed leaves out open and aborted transactions.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object a line.",
)
@bootstrap_option
def consume(
    topic: str,
    start: int | str,
    only: tuple[int, ...],
    count: int | None,
    until_end: bool,
    layout: bytes,
    null: bytes,
    isolation: str,
    output: str,
    bootstrap: list[Address],
    timeout_s: float,
) -> None:
    """Print the records of TOPIC, and go on printing new ones until Ctrl-C, --count or --until-end."""
    formatter = _json_line if output == "json" else _compile(layout, null)
    with Client(bootstrap, timeout_s=timeout_s) as client:
        metadata = client.topic(topic)
        partitions = list(only) or [partition.partition_index for partition in metadata.partitions]
        for index in partitions:
            find_partition(metadata, index)
        positions = _positions(client, topic, partitions, start, _ISOLATION[isolation])
        ends = None
        if until_end:
            ends = admin.list_offsets(client, topic, partitions, admin.LATEST, _ISOLATION[isolation])
        consumer = Consumer(client, topic, positions, ends, _ISOLATION[isolation])
        _print_records(consumer, formatter, count, sys.stdout.buffer)


def _compile(layout: bytes, null: bytes) -> Formatter:
    try:
        return compile_format(layout, null)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--format") from error


def _json_line(topic: str, partition: int, record: Record) -> bytes:
    return json.dumps(record_json(topic, partition, record), ensure_ascii=False).encode() + b"\n"


def _positions(
    client: Client, topic: str, partitions: list[int], start: int | str, isolation: int
) -> dict[int, int]:
    latest = admin.list_offsets(client, topic, partitions, admin.LATEST, isolation)
    if start == "latest":
        return latest
    earliest = admin.list_offsets(client, topic, partitions, admin.EARLIEST)
    if start == "earliest":
        return earliest
    if isinstance(start, int):
        if start < 0:
            return {index: max(earliest[index], latest[index] + start) for index in partitions}
        return dict.fromkeys(partitions, start)
    found = admin.list_offsets(client, topic, partitions, int(start[1:]), isolation)
    return {index: offset if offset >= 0 else latest[index] for index, offset in found.items()}


def _print_records(consumer: Consumer, formatter: Formatter, count: int | None, out: BinaryIO) -> None:
    # Written in blocks, but never later than the end of a round: what has arrived is seen.
    progress = Progress(time.monotonic(), enabled=sys.stderr.isatty() and not sys.stdout.isatty())
    printed = 0
    block = bytearray()
    try:
        if count == 0:
            return
        for item in consumer.records():
            if item is not None:
                block += formatter(consumer.topic, *item)
                printed += 1
                if printed == count:
                    return
            if len(block) > _FLUSH_BYTES or (item is None and block):
                out.write(block)
                out.flush()
                block.clear()
                progress.update(time.monotonic(), f"{printed:,} records")
    finally:
        progress.clear()
        out.write(block)
        out.flush()
