"""`floe groups list|describe|delete|reset-offsets`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from broker.cli import admin, groups_reset
from broker.cli import groups_requests as requests
from broker.cli.client import Address, BrokerError, Client, TopicPartition
from broker.cli.errors import CommandFailed
from broker.cli.options import bootstrap_option, moment, output_option
from broker.cli.output import print_json, print_table

# Kafka's names of states and types; the broker may know more, which are listed without a filter.
STATES = ("Stable", "Empty", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling", "Dead")
TYPES = ("Classic", "Consumer", "Share", "Streams")

_OFFSETS = (
    "GROUP",
    "TOPIC",
    "PARTITION",
    "CURRENT-OFFSET",
    "LOG-END-OFFSET",
    "LAG",
    "CONSUMER-ID",
    "HOST",
    "CLIENT-ID",
)
_MEMBERS = (
    "GROUP",
    "CONSUMER-ID",
    "GROUP-INSTANCE-ID",
    "HOST",
    "CLIENT-ID",
    "#PARTITIONS",
    "EPOCH",
    "ASSIGNMENT",
    "TARGET",
    "UPGRADED",
)
_STATE = ("GROUP", "COORDINATOR", "ASSIGNOR", "STATE", "TYPE", "#MEMBERS", "EPOCH", "TARGET-EPOCH")


@click.group()
def groups() -> None:
    """List, describe and delete consumer groups, and move their offsets."""


@groups.command("list")
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES, case_sensitive=False),
    multiple=True,
    help="Only groups in this state; may be repeated.",
)
@click.option(
    "--type",
    "types",
    type=click.Choice(TYPES, case_sensitive=False),
    multiple=True,
    help="Only groups of this type; may be repeated.",
)
@bootstrap_option
@output_option
def list_groups(
    states: tuple[str, ...], types: tuple[str, ...], bootstrap: list[Address], timeout_s: float, output: str
) -> None:
    """List the groups."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        found = requests.list_groups(client, states, types)
    rows = [(group.group_id, group.group_type, group.protocol_type or None, group.state) for group in found]
    if output == "json":
        names = ("group", "type", "protocol", "state")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        print_table(("GROUP", "TYPE", "PROTOCOL", "STATE"), rows)
    else:
        click.echo("No such groups." if states or types else "No groups.", err=True)


@groups.command()
@click.argument("names", metavar="GROUP...", nargs=-1, required=True)
@click.option("--members", is_flag=True, help="Show the members and what each is assigned.")
@click.option("--state", is_flag=True, help="Show the state of the group.")
@bootstrap_option
@output_option
def describe(
    names: tuple[str, ...],
    members: bool,
    state: bool,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """Show groups: offsets, lag and owner of each partition, or the members, or the state.

    The columns mean what those of kafka-consumer-groups do. JSON has everything at once.
    """
    if members and state:
        raise click.UsageError("Give --members or --state, not both.")
    with Client(bootstrap, timeout_s=timeout_s) as client:
        found = {name: requests.describe_group(client, name) for name in names}
        needs_offsets = output == "json" or not (members or state)
        described = [
            (group, _offset_rows(client, group) if needs_offsets else []) for group in found.values() if group
        ]
    if output == "json":
        print_json([_group_json(group, rows) for group, rows in described])
    else:
        for number, (group, rows) in enumerate(described):
            if number:
                click.echo()
            _print_group(group, rows, members=members, state=state)
    missing = [name for name, group in found.items() if group is None]
    if missing:
        raise CommandFailed(
            "\n".join(f"Group {name} does not exist." for name in missing),
            "See what is there with: floe groups list",
        )


def _offset_rows(client: Client, group: requests.Group) -> list[tuple[Any, ...]]:
    """(topic, partition, committed, log end offset, lag, member id, host, client id), what nobody owns last."""
    committed = requests.committed_offsets(client, group.group_id)
    owned = {
        (topic, index): member
        for member in group.members
        for topic, indexes in member.assignment.items()
        for index in indexes
    }
    known = requests.existing_partitions(client, {*owned, *committed})
    ends = requests.offsets_at(client, known, admin.LATEST)
    rows = []
    for where in sorted({*owned, *committed}, key=lambda where: (where not in owned, where)):
        offset, end, member = committed.get(where), ends.get(where), owned.get(where)
        lag = None if offset is None or end is None else end - offset
        owner = (member.member_id, member.host, member.client_id) if member else (None, None, None)
        rows.append((*where, offset, end, lag, *owner))
    return rows


def _print_group(
    group: requests.Group, rows: Sequence[tuple[Any, ...]], *, members: bool, state: bool
) -> None:
    name = group.group_id
    if state:
        print_table(_STATE, [_state_row(group)])
        return
    if not group.members:
        click.echo(f"Group {name} has no active members.", err=True)
    if members:
        if group.members:
            print_table(_MEMBERS, [(name, *_member_row(member)) for member in group.members])
    elif rows:
        print_table(_OFFSETS, [(name, *row) for row in rows])
    else:
        click.echo(f"Group {name} has no partitions and no offsets.", err=True)


def _state_row(group: requests.Group) -> tuple[Any, ...]:
    return (
        group.group_id,
        group.coordinator,
        group.assignor or None,
        group.state,
        group.group_type,
        len(group.members),
        group.epoch,
        group.target_epoch,
    )


def _member_row(member: requests.Member) -> tuple[Any, ...]:
    return (
        member.member_id,
        member.instance_id,
        member.host,
        member.client_id,
        member.partition_count,
        member.epoch,
        _assignment_text(member.assignment),
        _assignment_text(member.target) if member.target is not None else None,
        None if member.member_type is None else str(member.member_type == requests.CONSUMER).lower(),
    )


def _assignment_text(assignment: requests.Assignment) -> str | None:
    """{orders: [0, 1]} -> "orders:0,1"; topics with a semicolon between them."""
    topics = sorted(assignment.items())
    return ";".join(f"{topic}:{','.join(map(str, indexes))}" for topic, indexes in topics) or None


def _group_json(group: requests.Group, rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    names = (
        "topic",
        "partition",
        "current_offset",
        "log_end_offset",
        "lag",
        "consumer_id",
        "host",
        "client_id",
    )
    return {
        "group": group.group_id,
        "type": group.group_type,
        "state": group.state,
        "protocol": group.protocol_type or None,
        "assignor": group.assignor or None,
        "coordinator": group.coordinator,
        "epoch": group.epoch,
        "target_epoch": group.target_epoch,
        "members": [_member_json(member) for member in group.members],
        "partitions": [dict(zip(names, row, strict=True)) for row in rows],
    }


def _member_json(member: requests.Member) -> dict[str, Any]:
    return {
        "consumer_id": member.member_id,
        "group_instance_id": member.instance_id,
        "host": member.host,
        "client_id": member.client_id,
        "type": member.member_type,
        "epoch": member.epoch,
        "assignment": member.assignment,
        "target_assignment": member.target,
    }


@groups.command()
@click.argument("names", metavar="GROUP...", nargs=-1, required=True)
@click.option("--if-exists", is_flag=True, help="A group that does not exist is fine.")
@bootstrap_option
def delete(names: tuple[str, ...], if_exists: bool, bootstrap: list[Address], timeout_s: float) -> None:
    """Delete groups in which nobody is, and their offsets. There is no way back."""
    failures: list[str] = []
    with Client(bootstrap, timeout_s=timeout_s) as client:
        for name in names:
            try:
                requests.delete_group(client, name)
            except BrokerError as error:
                if if_exists and requests.is_missing_group(error):
                    click.echo(f"There is no group {name}.")
                else:
                    failures.append(str(error))
                continue
            click.echo(f"Deleted group {name}.")
    if failures:
        raise CommandFailed("\n".join(failures))


@groups.command("reset-offsets")
@click.argument("name", metavar="GROUP")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="TOPIC[:P,…]",
    help="A topic, or some of its partitions; may be repeated.",
)
@click.option("--all-topics", is_flag=True, help="Every partition in which the group has an offset.")
@click.option("--to-earliest", is_flag=True, help="To the first record.")
@click.option("--to-latest", is_flag=True, help="Behind the last record.")
@click.option("--to-offset", type=click.IntRange(min=0), metavar="N", help="To this offset.")
@click.option(
    "--to-datetime",
    type=moment,
    metavar="ISO",
    help="To the first record of that moment or later; UTC where no zone is given.",
)
@click.option("--shift-by", type=int, metavar="N", help="Forward by so many, or back if negative.")
@click.option(
    "--from-file",
    type=click.File(),
    metavar="CSV",
    help="To the offsets of a plan: lines of topic,partition,offset.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done. This is the default.")
@click.option("--execute", is_flag=True, help="Do it.")
@bootstrap_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Output format; csv is what --from-file reads.",
)
def reset_offsets(
    name: str,
    topics: tuple[str, ...],
    all_topics: bool,
    dry_run: bool,
    execute: bool,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
    **where_to: Any,
) -> None:
    """Move the offsets of a group in which nobody is.

    Shows the plan; --execute commits it. An offset outside a log is moved to the nearer end of it.
    """
    if dry_run and execute:
        raise click.UsageError("Give --dry-run or --execute, not both.")
    target = _target(name, **where_to)
    if sum(map(bool, (topics, all_topics))) != (0 if target.offsets is not None else 1):
        raise click.UsageError("Say what: --topic, or --all-topics, or neither with --from-file.")
    with Client(bootstrap, timeout_s=timeout_s) as client:
        _refuse_active(client, name)
        committed = requests.committed_offsets(client, name)
        partitions = _partitions(client, name, topics, committed, target)
        moves = groups_reset.plan(client, partitions, committed, target)
        if execute:
            new = {(move.topic, move.partition): move.new for move in moves}
            requests.commit_offsets(client, name, new)
    _print_plan(name, moves, output)
    if not execute:
        click.echo("Nothing was changed. Add --execute to do it.", err=True)


def _target(
    name: str,
    *,
    to_earliest: bool,
    to_latest: bool,
    to_offset: int | None,
    to_datetime: int | None,
    shift_by: int | None,
    from_file: Any,
) -> groups_reset.Target:
    given = [to_earliest, to_latest, *(v is not None for v in (to_offset, to_datetime, shift_by, from_file))]
    if sum(given) != 1:
        raise click.UsageError(
            "Say where to, once: --to-earliest, --to-latest, --to-offset, --to-datetime, --shift-by or --from-file."
        )
    if to_datetime is not None and to_datetime < 0:
        raise click.BadParameter("a moment before 1970", param_hint="--to-datetime")
    if from_file is not None:
        return groups_reset.Target(offsets=groups_reset.from_csv(from_file, name))
    if to_earliest:
        return groups_reset.Target(timestamp=admin.EARLIEST)
    if to_latest:
        return groups_reset.Target(timestamp=admin.LATEST)
    return groups_reset.Target(timestamp=to_datetime, offset=to_offset, shift=shift_by)


def _refuse_active(client: Client, name: str) -> None:
    # A group that does not exist is no error: its offsets can be set before its first member comes.
    group = requests.describe_group(client, name)
    if group is not None and not group.is_inactive:
        raise CommandFailed(
            f"Group {name} is active ({group.state}, {len(group.members)} members): its offsets cannot be moved.",
            f"Stop its members first. See who they are with: floe groups describe {name} --members",
        )


def _partitions(
    client: Client,
    name: str,
    topics: Sequence[str],
    committed: Mapping[TopicPartition, int],
    target: groups_reset.Target,
) -> list[TopicPartition]:
    if target.offsets is not None:
        return list(target.offsets)
    if topics:
        return groups_reset.partitions_of(client, groups_reset.parse_topics(topics))
    if not committed:
        raise CommandFailed(f"Group {name} has no offsets.", "Name the topics with --topic.")
    return list(committed)


def _print_plan(name: str, moves: Sequence[groups_reset.Move], output: str) -> None:
    for move in moves:
        if move.wanted != move.new:
            click.echo(
                f"{move.topic}-{move.partition}: {move.wanted} is outside the log; {move.new} is taken.",
                err=True,
            )
    if output == "csv":
        click.echo(groups_reset.to_csv(moves), nl=False)
        return
    rows = [(move.topic, move.partition, move.old, move.new) for move in moves]
    if output == "json":
        names = ("topic", "partition", "current_offset", "new_offset")
        print_json([{"group": name, **dict(zip(names, row, strict=True))} for row in rows])
    else:
        columns = ("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "NEW-OFFSET")
        print_table(columns, [(name, *row) for row in rows])
