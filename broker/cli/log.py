"""`floe log dump|verify`: look into log files offline. Works on Floe's and on Kafka's data folders."""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from broker.cli.errors import CommandFailed
from broker.cli.options import output_option
from broker.cli.output import bytes_to_json, format_size, print_json, print_table
from broker.cli.segments import MAX_DECOMPRESSED_BYTES, Check, Segment, check_segment, find_segments
from protocol.records import (
    DELETE_HORIZON_BIT,
    LOG_APPEND_TIME,
    CorruptBatch,
    Record,
    RecordBatch,
    crc_is_valid,
    iterate,
    parse_control_key,
    parse_end_transaction_value,
)

_CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_MARKERS = {0: "ABORT", 1: "COMMIT"}


@click.group()
def log() -> None:
    """Look into the log files of a data folder. No broker is needed; nothing is written."""


@log.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--deep", is_flag=True, help="Print every record, not only the batches.")
@output_option
def dump(path: Path, deep: bool, output: str) -> None:
    """Print the batches of PATH: a .log file, a partition's folder or a data folder.

    The lines are those of Kafka's DumpLogSegments. With --output json there is one object per line.
    """
    for segment_path in _segments(path):
        segment = Segment(segment_path)
        lines = _json_lines(segment, deep) if output == "json" else _text_lines(segment, deep)
        last = None
        try:
            for last in lines:
                click.echo(last)
        except CorruptBatch as error:
            position = f"position {error.args[1]}: " if len(error.args) > 1 else ""
            raise CommandFailed(
                f"{segment_path}: {position}{error.args[0]}",
                f"See all that is wrong with: floe log verify {path}",
            ) from error


def _segments(path: Path) -> list[Path]:
    found = find_segments(path)
    if not found:
        raise CommandFailed(
            f"There is no log segment at or below {path}.",
            "Name a folder that holds <topic>-<partition> folders.",
        )
    return found


def _text_lines(segment: Segment, deep: bool) -> Iterator[str]:
    yield f"Dumping {segment.path}"
    yield f"Log starting offset: {segment.base_offset}"
    for batch in segment.batches():
        yield _batch_line(segment, batch)
        if deep:
            for record in iterate(segment.buffer, batch, MAX_DECOMPRESSED_BYTES):
                yield _record_line(batch, record)


def _batch_line(segment: Segment, batch: RecordBatch) -> str:
    has_horizon = batch.attributes & DELETE_HORIZON_BIT
    horizon = f"OptionalLong[{batch.base_timestamp}]" if has_horizon else "OptionalLong.empty"
    valid = crc_is_valid(segment.buffer, batch)
    return (
        f"baseOffset: {batch.base_offset} lastOffset: {batch.last_offset} count: {batch.record_count} "
        f"baseSequence: {batch.base_sequence} lastSequence: {batch.last_sequence} "
        f"producerId: {batch.producer_id} producerEpoch: {batch.producer_epoch} "
        f"partitionLeaderEpoch: {batch.partition_leader_epoch} "
        f"isTransactional: {_java(batch.is_transactional)} isControl: {_java(batch.is_control)} "
        f"deleteHorizonMs: {horizon} position: {batch.position} "
        f"{_timestamp_type(batch)}: {batch.max_timestamp} size: {batch.size} magic: {batch.magic} "
        f"compresscodec: {_codec_name(batch)} crc: {batch.crc} isvalid: {_java(valid)}"
    )


def _record_line(batch: RecordBatch, record: Record) -> str:
    key_size = -1 if record.key is None else len(record.key)
    value_size = -1 if record.value is None else len(record.value)
    headers = ",".join(name for name, _ in record.headers)
    line = (
        f"| offset: {record.offset} {_timestamp_type(batch)}: {record.timestamp} keySize: {key_size} "
        f"valueSize: {value_size} sequence: {_sequence(batch, record)} headerKeys: [{headers}]"
    )
    if batch.is_control:
        return line + _marker_text(record)
    if record.key is not None:
        line += f" key: {record.key.decode('utf-8', 'replace')}"
    if record.value is not None:
        line += f" payload: {record.value.decode('utf-8', 'replace')}"
    return line


def _marker_text(record: Record) -> str:
    kind = parse_control_key(record.key)
    if kind not in _MARKERS:
        return f" controlType: {kind}"
    return f" endTxnMarker: {_MARKERS[kind]} coordinatorEpoch: {parse_end_transaction_value(record.value)}"


def _sequence(batch: RecordBatch, record: Record) -> int:
    if batch.base_sequence < 0:
        return -1
    return (batch.base_sequence + record.offset - batch.base_offset) & 0x7FFFFFFF


def _timestamp_type(batch: RecordBatch) -> str:
    return "LogAppendTime" if batch.timestamp_type == LOG_APPEND_TIME else "CreateTime"


def _codec_name(batch: RecordBatch) -> str:
    return _CODECS.get(batch.compression, str(batch.compression))


def _java(value: bool) -> str:
    return "true" if value else "false"


def _json_lines(segment: Segment, deep: bool) -> Iterator[str]:
    for batch in segment.batches():
        entry = _batch_json(segment, batch)
        if deep:
            entry["records"] = [
                _record_json(record) for record in iterate(segment.buffer, batch, MAX_DECOMPRESSED_BYTES)
            ]
        yield json.dumps(entry, ensure_ascii=False)


def _batch_json(segment: Segment, batch: RecordBatch) -> dict[str, Any]:
    return {
        "file": str(segment.path),
        "position": batch.position,
        "size": batch.size,
        "base_offset": batch.base_offset,
        "last_offset": batch.last_offset,
        "record_count": batch.record_count,
        "leader_epoch": batch.partition_leader_epoch,
        "producer_id": batch.producer_id,
        "producer_epoch": batch.producer_epoch,
        "base_sequence": batch.base_sequence,
        "is_transactional": batch.is_transactional,
        "is_control": batch.is_control,
        "timestamp_type": _timestamp_type(batch),
        "base_timestamp": batch.base_timestamp,
        "max_timestamp": batch.max_timestamp,
        "compression": _codec_name(batch),
        "crc": batch.crc,
        "crc_is_valid": crc_is_valid(segment.buffer, batch),
    }


def _record_json(record: Record) -> dict[str, Any]:
    return {
        "offset": record.offset,
        "timestamp": record.timestamp,
        **bytes_to_json("key", record.key),
        **bytes_to_json("value", record.value),
        "headers": [{"key": name, **bytes_to_json("value", value)} for name, value in record.headers],
    }


@log.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--deep", is_flag=True, help="Decompress and read every record as well.")
@click.option("--allow-gaps", is_flag=True, help="Missing offsets are fine: the topic is compacted.")
@output_option
def verify(path: Path, deep: bool, allow_gaps: bool, output: str) -> None:
    """Check the files at PATH: CRCs, consecutive offsets, indexes that agree with the log.

    Exit status 1 if anything is wrong; each problem names its file, position and offset.
    """
    checks = _check_all(_segments(path), deep=deep, allow_gaps=allow_gaps)
    problems = [problem for check in checks for problem in check.problems]
    if output == "json":
        print_json(
            {
                "segments": [_check_json(check) for check in checks],
                "problems": [
                    {"file": str(p.path), "position": p.position, "offset": p.offset, "problem": p.what}
                    for p in problems
                ],
            }
        )
    else:
        columns = ("PARTITION", "SEGMENT", "OFFSETS", "BATCHES", "RECORDS", "SIZE", "PROBLEMS")
        print_table(columns, [_check_row(check) for check in checks])
        for problem in problems:
            click.echo(f"CORRUPT {problem}")
    if problems:
        click.echo(
            f"{len(problems)} problem(s). If the broker was killed, the end of a partition's last segment "
            "may be torn: the broker cuts it off at its next start.",
            err=True,
        )
        sys.exit(1)


def _check_all(paths: list[Path], *, deep: bool, allow_gaps: bool) -> list[Check]:
    checks: list[Check] = []
    for path in paths:
        follows = bool(checks) and checks[-1].path.parent == path.parent
        expected = checks[-1].next_offset if follows else None
        try:
            checks.append(check_segment(path, expected, deep=deep, allow_gaps=allow_gaps))
        except (OSError, struct.error) as error:
            raise CommandFailed(f"Cannot read {path}: {error}.") from error
    return checks


def _check_row(check: Check) -> tuple[object, ...]:
    offsets = f"{check.base_offset}-{check.next_offset - 1}" if check.records else f"{check.base_offset}-"
    size = format_size(check.size_bytes)
    return (
        check.path.parent.name,
        check.path.name,
        offsets,
        check.batches,
        check.records,
        size,
        len(check.problems),
    )


def _check_json(check: Check) -> dict[str, Any]:
    return {
        "file": str(check.path),
        "base_offset": check.base_offset,
        "next_offset": check.next_offset,
        "batches": check.batches,
        "records": check.records,
        "size_bytes": check.size_bytes,
        "problems": len(check.problems),
    }
