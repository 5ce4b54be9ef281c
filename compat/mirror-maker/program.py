"""MirrorMaker 2 from an Apache Kafka into Floe: topics, records, settings, groups' offsets."""

import os
import re

from features import BOOTSTRAP, Features, equal, until
from workers import SCRATCH, JavaProcess, free_port, java, properties

TOOLS = "org.apache.kafka.tools."
KAFKA_PORT, CONTROLLER_PORT = free_port(), free_port()
KAFKA = f"127.0.0.1:{KAFKA_PORT}"
COUNT = 500
features = Features()


def start_kafka():
    """An Apache Kafka of one node."""
    path = properties(
        "kafka.properties",
        process_roles="broker,controller",
        node_id="1",
        controller_quorum_voters=f"1@127.0.0.1:{CONTROLLER_PORT}",
        listeners=f"PLAINTEXT://{KAFKA},CONTROLLER://127.0.0.1:{CONTROLLER_PORT}",
        advertised_listeners=f"PLAINTEXT://{KAFKA}",
        controller_listener_names="CONTROLLER",
        listener_security_protocol_map="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        inter_broker_listener_name="PLAINTEXT",
        log_dirs=SCRATCH + "/kafka",
        offsets_topic_replication_factor="1",
        offsets_topic_num_partitions="3",
        group_initial_rebalance_delay_ms="0",
    )
    cluster_id = java("kafka.tools.StorageTool", "random-uuid").split()[-1]
    java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", path)
    return JavaProcess("kafka", "kafka.Kafka", path)


def produce(first):
    lines = "".join(f"key-{n}:value-{n}\n" for n in range(first, first + COUNT))
    arguments = (
        "--topic",
        "orders",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
    )
    java(TOOLS + "ConsoleProducer", "--bootstrap-server", KAFKA, *arguments, stdin=lines)


def mirrored(count):
    arguments = [
        "--topic",
        "source.orders",
        "--from-beginning",
        "--max-messages",
        str(count),
        "--timeout-ms",
        "30000",
    ]
    for setting in ("print.key=true", "key.separator=:", "print.partition=true"):
        arguments += ["--formatter-property", setting]
    told = java(TOOLS + "consumer.ConsoleConsumer", "--bootstrap-server", BOOTSTRAP, *arguments)
    return [line for line in told.split("\n") if line]


def told_by_floe(tool, *arguments):
    """What a tool says of Floe, or nothing where it fails because MirrorMaker has not got there."""
    try:
        return java(TOOLS + tool, "--bootstrap-server", BOOTSTRAP, *arguments)
    except AssertionError:
        return ""


def end(topic):
    told = told_by_floe("GetOffsetShell", "--topic", topic)
    return sum(int(line.rsplit(":", 1)[1]) for line in told.split())


@features.check("topics and records arrive in order")
def records():
    until(lambda: end("source.orders") >= COUNT, 90, "all records are there")
    found = mirrored(COUNT)
    equal(
        sorted(line.split(":", 2)[2] for line in found),
        sorted(f"key-{n}:value-{n}" for n in range(COUNT)),
        "records",
    )
    for partition in range(2):
        mine = [int(line.rsplit("-", 1)[1]) for line in found if line.startswith(f"Partition:{partition}")]
        equal(mine, sorted(mine), f"order of partition {partition}")
        assert mine, f"partition {partition} is empty"


@features.check("settings of topics arrive")
def settings():
    def described():
        told = java(
            TOOLS + "TopicCommand", "--bootstrap-server", BOOTSTRAP, "--describe", "--topic", "source.orders"
        )
        return re.search(r"PartitionCount: 2", told) and re.search(r"retention\.ms=123456789", told)

    until(described, 60, "retention.ms of the source")


@features.check("new records follow")
def follow():
    produce(COUNT)
    until(lambda: end("source.orders") >= 2 * COUNT, 60, "the new records are there")
    equal(end("source.orders"), 2 * COUNT, "records")


@features.check("offsets of groups are translated")
def offsets():
    def translated():
        told = told_by_floe("consumer.group.ConsumerGroupCommand", "--describe", "--group", "readers")
        found = re.findall(r"readers\s+source\.orders\s+\d+\s+(\d+)", told)
        return len(found) == 2 and sum(map(int, found)) > 0

    until(translated, 90, "the group's offsets in Floe")


@features.check("internal topics and heartbeats")
def internal():
    told = java(TOOLS + "TopicCommand", "--bootstrap-server", BOOTSTRAP, "--list").split()
    assert {"source.heartbeats", "source.checkpoints.internal", "mm2-configs.source.internal"} <= set(told), (
        told
    )


def prepare():
    tool = (
        TOOLS + "TopicCommand",
        "--bootstrap-server",
        KAFKA,
        "--create",
        "--topic",
        "orders",
        "--partitions",
        "2",
    )
    until(lambda: "Kafka Server started" in kafka.log() or serves(), 60, "Apache Kafka runs")
    java(*tool, "--config", "retention.ms=123456789")
    produce(0)
    group = ("--from-beginning", "--max-messages", str(COUNT), "--group", "readers")
    java(TOOLS + "consumer.ConsoleConsumer", "--bootstrap-server", KAFKA, "--topic", "orders", *group)
    os.mkdir(SCRATCH + "/plugins")
    return JavaProcess("mirror-maker", "org.apache.kafka.connect.mirror.MirrorMaker", mirror_properties())


def serves():
    try:
        java("org.apache.kafka.tools.ClusterTool", "cluster-id", "--bootstrap-server", KAFKA)
    except AssertionError:
        return False
    return True


def mirror_properties():
    return properties(
        "mm2.properties",
        clusters="source,floe",
        source_bootstrap_servers=KAFKA,
        floe_bootstrap_servers=BOOTSTRAP,
        **{
            "source__>floe.enabled": "true",
            "source__>floe.topics": "orders",
            "source__>floe.sync.group.offsets.enabled": "true",
            "floe__>source.enabled": "false",
        },
        replication_factor="1",
        checkpoints_topic_replication_factor="1",
        heartbeats_topic_replication_factor="1",
        offset__syncs_topic_replication_factor="1",
        offset_storage_replication_factor="1",
        status_storage_replication_factor="1",
        config_storage_replication_factor="1",
        emit_checkpoints_interval_seconds="2",
        sync_group_offsets_interval_seconds="2",
        sync_topic_configs_interval_seconds="5",
        refresh_topics_interval_seconds="5",
        plugin_path=SCRATCH + "/plugins",
        plugin_discovery="service_load",
    )


kafka = start_kafka()
try:
    mirror = prepare()
    try:
        features.run()
    finally:
        mirror.close()
finally:
    kafka.close()
