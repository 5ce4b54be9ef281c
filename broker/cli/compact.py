"""`floe compact now|status`: log compaction of a Floe broker."""

import sys
import time
from typing import Any

import click

from broker.cli.client import Address, Client
from broker.cli.floe_admin import call
from broker.cli.options import bootstrap_option, output_option
from broker.cli.output import Progress, format_size, print_json, print_table

POLL_S = 0.2

HOLDERS = {
    "table": "the rest waits for the topic's table",
    "transaction": "the rest waits for a transaction to end",
    "lag": "the rest waits for min.compaction.lag.ms",
}


@click.group()
def compact() -> None:
    """Compact topics now, and see how compact they are.

    The broker compacts topics with cleanup.policy=compact by itself, in the background. Of every key the last value
    stays; offsets do not change.
    """


@compact.command()
@click.argument("topic")
@click.option("-p", "--partition", type=click.IntRange(min=0), help="One partition only.")
@click.option("--no-wait", is_flag=True, help="Ask for it and do not wait until it is done.")
@bootstrap_option
@output_option
def now(
    topic: str, partition: int | None, no_wait: bool, bootstrap: list[Address], timeout_s: float, output: str
) -> None:
    """Compact TOPIC now, however clean it is, everything that is committed included.

    Exit status 1 if a partition could not be compacted. Records that an open transaction, or the topic's table, still
    needs stay for later.
    """
    with Client(bootstrap, timeout_s=timeout_s) as client:
        wanted: dict[str, Any] = {"topic": topic}
        if partition is not None:
            wanted["partition"] = partition
        asked = set(call(client, "compact.now", wanted)["partitions"])
        found = _status(client, topic, asked) if no_wait else _wait(client, topic, asked)
    if output == "json":
        print_json({"topic": topic, "partitions": found})
    else:
        _print_rounds(topic, found)
    if any(status["state"] == "failed" or _error(status) for status in found) and not no_wait:
        sys.exit(1)


def _status(client: Client, topic: str, partitions: set[int]) -> list[dict[str, Any]]:
    found = call(client, "compact.status", {"topic": topic})["partitions"]
    return [status for status in found if status["partition"] in partitions]


def _wait(client: Client, topic: str, partitions: set[int]) -> list[dict[str, Any]]:
    progress = Progress(time.monotonic())
    while True:
        found = _status(client, topic, partitions)
        under_way = [status for status in found if status["state"] in ("waiting", "running")]
        if not under_way:
            progress.clear()
            return found
        running = [status for status in under_way if status["state"] == "running"]
        share = f", {running[0]['partition']} at {running[0]['progress']:.0%}" if running else ""
        progress.update(
            time.monotonic(), f"{len(found) - len(under_way)} of {len(found)} partitions compacted{share}"
        )
        time.sleep(POLL_S)


def _error(status: dict[str, Any]) -> str | None:
    last = status["last_round"]
    error: str | None = last["error"] if last else None
    return error


def _print_rounds(topic: str, found: list[dict[str, Any]]) -> None:
    if not found:
        click.echo(f"{topic} has no records to compact.", err=True)
        return
    rows = []
    for status in found:
        last = status["last_round"] or {}
        has_run = "bytes_before" in last
        rows.append(
            (
                f"{topic}-{status['partition']}",
                format_size(last["bytes_before"]) if has_run else None,
                format_size(last["bytes_after"]) if has_run else None,
                last.get("records_before"),
                last.get("records_after"),
                last.get("seconds"),
                status["problem"] or _error(status) or _result(has_run, status.get("held_by")),
            )
        )
    print_table(("PARTITION", "BEFORE", "AFTER", "RECORDS", "LEFT", "SECONDS", "RESULT"), rows)


def _result(has_run: bool, held_by: str | None) -> str:
    result = "compacted" if has_run else "nothing to do"
    return f"{result}, {HOLDERS.get(held_by, held_by)}" if held_by else result


@compact.command()
@click.argument("topic", required=False)
@bootstrap_option
@output_option
def status(topic: str | None, bootstrap: list[Address], timeout_s: float, output: str) -> None:
    """Show how much of every compacted partition is dirty: of TOPIC, or of all topics."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        found = call(client, "compact.status", {"topic": topic} if topic else {})
    if output == "json":
        print_json(found)
        return
    if not found["enabled"]:
        click.echo("Compaction is switched off (log.cleaner.enable=false).", err=True)
    if not found["partitions"]:
        click.echo("No compacted topic has records.", err=True)
        return
    print_table(
        ("PARTITION", "STATE", "COMPACTED TO", "CAN GO TO", "CLEAN", "DIRTY", "RATIO", "HELD BY", "PROBLEM"),
        [_status_row(partition) for partition in found["partitions"]],
    )


def _status_row(status: dict[str, Any]) -> tuple[object, ...]:
    state = status["state"]
    if state == "running":
        state = f"running {status['progress']:.0%}"
    is_measured = "dirty_bytes" in status
    return (
        f"{status['topic']}-{status['partition']}",
        state,
        status.get("first_dirty_offset"),
        status.get("end_offset"),
        format_size(status["clean_bytes"]) if is_measured else None,
        format_size(status["dirty_bytes"]) if is_measured else None,
        status.get("dirty_ratio"),
        status.get("held_by"),
        status["problem"] or _pause(status) or _error(status),
    )


def _pause(status: dict[str, Any]) -> str | None:
    next_try_ms = status.get("next_try_ms")
    if next_try_ms is None:
        return None
    seconds = max(0, next_try_ms // 1000 - int(time.time()))
    times = "once" if status["failures"] == 1 else f"{status['failures']} times in a row"
    return f"failed {times}, next try in {seconds} s: {_error(status)}"
