"""`floe topics list|create|describe|alter|delete`."""

from typing import Any

import click

from broker.cli import admin
from broker.cli.client import Address, BrokerError, Client
from broker.cli.errors import CommandFailed
from broker.cli.options import MAX_PARTITIONS, bootstrap_option, key_value, output_option
from broker.cli.output import format_size, print_json, print_table
from protocol.errors import ErrorCode
from protocol.messages.metadata import MetadataResponsePartition, MetadataResponseTopic
from protocol.primitives import format_uuid

_NO_ID = bytes(16)


@click.group()
def topics() -> None:
    """List, create, describe, alter and delete topics."""


@topics.command("list")
@click.option("--internal", is_flag=True, help="Also list internal topics (__consumer_offsets and the like).")
@bootstrap_option
@output_option
def list_topics(internal: bool, bootstrap: list[Address], timeout_s: float, output: str) -> None:
    """List the topics."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        response = client.refresh_metadata(None)
    found = sorted(
        (topic for topic in response.topics if internal or not topic.is_internal),
        key=lambda topic: topic.name or "",
    )
    rows = [(topic.name, len(topic.partitions), _replicas(topic), _topic_id(topic)) for topic in found]
    if output == "json":
        names = ("topic", "partitions", "replication_factor", "topic_id")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        print_table(("TOPIC", "PARTITIONS", "REPLICAS", "ID"), rows)
    else:
        click.echo("No topics. Create one with: floe topics create NAME", err=True)


def _replicas(topic: MetadataResponseTopic) -> int:
    return max((len(partition.replica_nodes) for partition in topic.partitions), default=0)


def _topic_id(topic: MetadataResponseTopic) -> str | None:
    topic_id = bytes(topic.topic_id)
    return None if topic_id == _NO_ID else format_uuid(topic_id)


@topics.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "-p",
    "--partitions",
    type=click.IntRange(min=1, max=MAX_PARTITIONS),
    metavar="N",
    help="Number of partitions. [default: the broker's]",
)
@click.option(
    "--replication-factor",
    type=click.IntRange(min=1, max=32767),
    metavar="N",
    help="Replicas of each partition. [default: the broker's]",
)
@click.option(
    "-c", "--config", "configs", type=key_value, multiple=True, metavar="KEY=VALUE", help="A topic setting."
)
@click.option("--if-not-exists", is_flag=True, help="A topic that exists already is fine.")
@click.option("--validate-only", is_flag=True, help="Only ask whether it could be created.")
@bootstrap_option
def create(
    names: tuple[str, ...],
    partitions: int | None,
    replication_factor: int | None,
    configs: tuple[tuple[str, str], ...],
    if_not_exists: bool,
    validate_only: bool,
    bootstrap: list[Address],
    timeout_s: float,
) -> None:
    """Create topics."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        for name in names:
            try:
                admin.create_topic(
                    client,
                    name,
                    partitions=partitions or -1,
                    replication_factor=replication_factor or -1,
                    configs=dict(configs),
                    validate_only=validate_only,
                )
            except BrokerError as error:
                if not (if_not_exists and error.code == ErrorCode.TOPIC_ALREADY_EXISTS):
                    raise
                click.echo(f"Topic {name} exists already.")
                continue
            click.echo(f"Topic {name} could be created." if validate_only else f"Created topic {name}.")


@topics.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@bootstrap_option
@output_option
def describe(names: tuple[str, ...], bootstrap: list[Address], timeout_s: float, output: str) -> None:
    """Show topics: id, settings that are not the default, and each partition's leader, offsets and size."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        described = [_describe(client, name) for name in names]
    if output == "json":
        print_json(described)
        return
    for number, topic in enumerate(described):
        if number:
            click.echo()
        _print_topic(topic)


def _describe(client: Client, name: str) -> dict[str, Any]:
    topic = client.topic(name, refresh=True)
    # Offsets can be asked of partitions that have a leader only; the others still get their line.
    led = [partition.partition_index for partition in topic.partitions if partition.leader_id >= 0]
    earliest = admin.list_offsets(client, name, led, admin.EARLIEST)
    latest = admin.list_offsets(client, name, led, admin.LATEST)
    sizes = admin.partition_sizes(client, {name: led})
    try:
        settings = {
            s.name: s.value for s in admin.describe_configs(client, admin.TOPIC, name) if not s.is_default
        }
    except BrokerError as error:
        if error.code not in (ErrorCode.TOPIC_AUTHORIZATION_FAILED, ErrorCode.CLUSTER_AUTHORIZATION_FAILED):
            raise
        settings = {}
    return {
        "topic": name,
        "topic_id": _topic_id(topic),
        "internal": topic.is_internal,
        "replication_factor": _replicas(topic),
        "configs": settings,
        "partitions": [
            _partition_json(partition, earliest, latest, sizes.get((name, partition.partition_index)))
            for partition in topic.partitions
        ],
    }


def _partition_json(
    partition: MetadataResponsePartition, earliest: dict[int, int], latest: dict[int, int], size: int | None
) -> dict[str, Any]:
    index = partition.partition_index
    return {
        "partition": index,
        "leader": partition.leader_id if partition.leader_id >= 0 else None,
        "leader_epoch": partition.leader_epoch,
        "replicas": list(partition.replica_nodes),
        "isr": list(partition.isr_nodes),
        "earliest_offset": earliest.get(index),
        "latest_offset": latest.get(index),
        "size_bytes": size,
    }


def _print_topic(topic: dict[str, Any]) -> None:
    partitions = topic["partitions"]
    click.echo(f"Topic        {topic['topic']}" + ("  (internal)" if topic["internal"] else ""))
    click.echo(f"Id           {topic['topic_id'] or '-'}")
    click.echo(f"Partitions   {len(partitions)}")
    click.echo(f"Replicas     {topic['replication_factor']}")
    settings = [f"{name}={value}" for name, value in topic["configs"].items()]
    click.echo(f"Settings     {settings[0] if settings else 'all at their defaults'}")
    for setting in settings[1:]:
        click.echo(f"             {setting}")
    click.echo()
    columns = ("PARTITION", "LEADER", "REPLICAS", "ISR", "EARLIEST", "LATEST", "RECORDS", "SIZE")
    print_table(columns, [_partition_row(partition) for partition in partitions])


def _partition_row(partition: dict[str, Any]) -> tuple[object, ...]:
    earliest, latest = partition["earliest_offset"], partition["latest_offset"]
    records = None if earliest is None or latest is None else latest - earliest
    size = None if partition["size_bytes"] is None else format_size(partition["size_bytes"])
    return (
        partition["partition"],
        partition["leader"],
        ",".join(map(str, partition["replicas"])),
        ",".join(map(str, partition["isr"])),
        earliest,
        latest,
        records,
        size,
    )


@topics.command()
@click.argument("name")
@click.option(
    "-p",
    "--partitions",
    type=click.IntRange(min=1, max=MAX_PARTITIONS),
    metavar="N",
    help="Raise the number of partitions to this.",
)
@click.option(
    "-c", "--config", "configs", type=key_value, multiple=True, metavar="KEY=VALUE", help="Set a setting."
)
@click.option("--unset", multiple=True, metavar="KEY", help="Put a setting back to its default.")
@bootstrap_option
def alter(
    name: str,
    partitions: int | None,
    configs: tuple[tuple[str, str], ...],
    unset: tuple[str, ...],
    bootstrap: list[Address],
    timeout_s: float,
) -> None:
    """Change a topic's number of partitions or its settings."""
    if partitions is None and not configs and not unset:
        raise click.UsageError("Nothing to change: give --partitions, --config or --unset.")
    with Client(bootstrap, timeout_s=timeout_s) as client:
        if unset:
            admin.require_settings(client, admin.TOPIC, name, unset)
        if configs or unset:
            admin.alter_configs(client, admin.TOPIC, name, values=dict(configs), unset=unset)
        if partitions is not None:
            admin.create_partitions(client, name, partitions)
    click.echo(f"Changed topic {name}.")


@topics.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--if-exists", is_flag=True, help="A topic that does not exist is fine.")
@bootstrap_option
def delete(names: tuple[str, ...], if_exists: bool, bootstrap: list[Address], timeout_s: float) -> None:
    """Delete topics and all their records. There is no way back."""
    failures: list[str] = []
    with Client(bootstrap, timeout_s=timeout_s) as client:
        for name in names:
            try:
                admin.delete_topic(client, name)
            except BrokerError as error:
                if if_exists and admin.is_missing_topic(error):
                    click.echo(f"There is no topic {name}.")
                else:
                    failures.append(str(error))
                continue
            click.echo(f"Deleted topic {name}.")
    if failures:
        raise CommandFailed("\n".join(failures))
