"""The tools behind Apache Kafka's kafka-*.sh scripts, checked by what they print and what comes of it."""

import json
import os
import re
import subprocess

from features import BOOTSTRAP, Features, equal, until

JAVA = ["java", *os.environ["JAVA_FLAGS"].split(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
CLASS_PATH = os.environ["JARS"] + "/*"
SCRATCH = os.environ["SCRATCH"]
TOOLS = "org.apache.kafka.tools."
features = Features()


def command(tool, *arguments):
    name = tool if tool.startswith("kafka.") else TOOLS + tool
    return [*JAVA, "-cp", CLASS_PATH, name, *arguments]


def run(tool, *arguments, stdin="", code=0):
    """What a tool printed; `code` None where any exit status will do."""
    done = subprocess.run(
        command(tool, *arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
    )
    if code is not None and done.returncode != code:
        raise AssertionError(
            f"{tool} ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-500:]}"
        )
    return done.stdout + (done.stderr if code else "")


def admin(tool, *arguments, **more):
    return run(tool, "--bootstrap-server", BOOTSTRAP, *arguments, **more)


def has(text, *patterns):
    for pattern in patterns:
        if not re.search(pattern, text):
            raise AssertionError(f"no {pattern!r} in: {text[-600:]}")


def lines(first, count):
    return "".join(f"key-{n}:value-{n}\n" for n in range(first, first + count))


@features.check("kafka-broker-api-versions")
def api_versions():
    told = admin("BrokerApiVersionsCommand")
    has(told, r"Produce\(0\): 0 to \d+ \[usable", r"ConsumerGroupHeartbeat\(68\)", r"Fetch\(1\)")


@features.check("kafka-topics: create, describe, alter, list, delete")
def topics():
    admin("TopicCommand", "--create", "--topic", "a", "--partitions", "2", "--config", "retention.ms=77777")
    has(admin("TopicCommand", "--create", "--topic", "a", code=1), "already exists")
    admin("TopicCommand", "--alter", "--topic", "a", "--partitions", "3")
    told = admin("TopicCommand", "--describe", "--topic", "a")
    has(
        told,
        r"PartitionCount: 3",
        r"retention\.ms=77777",
        r"Partition: 2\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+",
    )
    admin("TopicCommand", "--delete", "--topic", "a")
    assert "a" not in admin("TopicCommand", "--list").split()


@features.check("kafka-configs: topics")
def configs():
    admin("TopicCommand", "--create", "--topic", "configured")
    entity = ("--entity-type", "topics", "--entity-name", "configured")
    admin(
        "kafka.admin.ConfigCommand",
        "--alter",
        *entity,
        "--add-config",
        "retention.ms=4444,cleanup.policy=compact",
    )
    told = admin("kafka.admin.ConfigCommand", "--describe", *entity)
    has(told, "retention.ms=4444", "cleanup.policy=compact", "DYNAMIC_TOPIC_CONFIG")
    admin("kafka.admin.ConfigCommand", "--alter", *entity, "--delete-config", "retention.ms")
    assert "retention.ms=4444" not in admin("kafka.admin.ConfigCommand", "--describe", *entity)


@features.check("kafka-configs: brokers")
def broker_configs():
    entity = ("--entity-type", "brokers", "--entity-default")
    admin("kafka.admin.ConfigCommand", "--alter", *entity, "--add-config", "log.retention.ms=86400000")
    has(admin("kafka.admin.ConfigCommand", "--describe", *entity), "log.retention.ms=86400000")
    admin("kafka.admin.ConfigCommand", "--alter", *entity, "--delete-config", "log.retention.ms")


def produced(topic, count=300):
    properties = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
    admin("ConsoleProducer", "--topic", topic, *properties, stdin=lines(0, count))


@features.check("kafka-console-producer and kafka-console-consumer")
def console():
    produced("console")
    told = admin(
        "consumer.ConsoleConsumer",
        "--topic",
        "console",
        "--from-beginning",
        "--max-messages",
        "300",
        "--formatter-property",
        "print.key=true",
        "--formatter-property",
        "key.separator=:",
        "--formatter-property",
        "print.offset=true",
    )
    expected = [f"Offset:{n}:key-{n}:value-{n}" for n in range(300)]
    equal(told.split(), expected, "lines")


@features.check("kafka-get-offsets")
def get_offsets():
    produced("counted", 50)
    told = admin("GetOffsetShell", "--topic", "counted")
    equal(told.split(), ["counted:0:50"], "latest")
    equal(admin("GetOffsetShell", "--topic", "counted", "--time", "-2").split(), ["counted:0:0"], "earliest")


@features.check("kafka-consumer-groups: list, describe, reset, delete")
def groups():
    produced("grouped")
    admin(
        "consumer.ConsoleConsumer",
        "--topic",
        "grouped",
        "--from-beginning",
        "--max-messages",
        "300",
        "--group",
        "g",
    )
    tool = "consumer.group.ConsumerGroupCommand"
    assert "g" in admin(tool, "--list").split()
    has(admin(tool, "--describe", "--group", "g"), r"g\s+grouped\s+0\s+300\s+300\s+0")
    reset = ("--reset-offsets", "--group", "g", "--topic", "grouped", "--to-offset", "100", "--execute")
    has(admin(tool, *reset), r"g\s+grouped\s+0\s+100")
    has(admin(tool, "--describe", "--group", "g", "--state"), r"Empty\s+0")
    has(admin(tool, "--describe", "--group", "g", "--offsets"), r"grouped\s+0\s+100\s+300\s+200")
    admin(tool, "--delete", "--group", "g")
    assert "g" not in admin(tool, "--list").split()


@features.check("kafka-groups")
def all_groups():
    produced("listed", 5)
    admin(
        "consumer.ConsoleConsumer",
        "--topic",
        "listed",
        "--from-beginning",
        "--max-messages",
        "5",
        "--group",
        "seen",
    )
    has(admin("GroupsCommand", "--list"), r"seen\s+Classic\s+consumer")


@features.check("kafka-producer-perf-test")
def perf():
    told = run(
        "ProducerPerformance",
        "--topic",
        "perf",
        "--num-records",
        "20000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
        "--producer-props",
        "bootstrap.servers=" + BOOTSTRAP,
    )
    has(told, r"20000 records sent")
    equal(admin("GetOffsetShell", "--topic", "perf").split(), ["perf:0:20000"], "records")


@features.check("kafka-consumer-perf-test")
def consumer_perf():
    told = admin("ConsumerPerformance", "--topic", "perf", "--messages", "20000", "--group", "perf")
    has(told, r", 20000, ")


@features.check("kafka-verifiable-producer and kafka-verifiable-consumer")
def verifiable():
    told = admin("VerifiableProducer", "--topic", "verified", "--max-messages", "200")
    sent = [json.loads(line) for line in told.splitlines() if "producer_send_success" in line]
    equal([int(event["value"]) for event in sent], list(range(200)), "values")
    equal([event["offset"] for event in sent], list(range(200)), "offsets")
    arguments = (
        "--topic",
        "verified",
        "--group-id",
        "v",
        "--max-messages",
        "200",
        "--reset-policy",
        "earliest",
    )
    told = admin("VerifiableConsumer", *arguments)
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    equal(sum(event["count"] for event in events if event["name"] == "records_consumed"), 200, "consumed")
    committed = [event for event in events if event["name"] == "offsets_committed"]
    equal(committed[-1]["success"], True, "committed")


@features.check("kafka-delete-records")
def delete_records():
    produced("deleted", 50)
    wanted = {"version": 1, "partitions": [{"topic": "deleted", "partition": 0, "offset": 20}]}
    path = os.path.join(SCRATCH, "delete.json")
    with open(path, "w") as file:
        json.dump(wanted, file)
    has(admin("DeleteRecordsCommand", "--offset-json-file", path), r"low_watermark: 20")
    equal(
        admin("GetOffsetShell", "--topic", "deleted", "--time", "earliest").split(),
        ["deleted:0:20"],
        "earliest",
    )


@features.check("kafka-log-dirs")
def log_dirs():
    told = admin("LogDirsCommand", "--describe", "--topic-list", "perf")
    (found,) = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    (partition,) = found["brokers"][0]["logDirs"][0]["partitions"]
    equal(partition["partition"], "perf-0", "partition")
    assert partition["size"] > 2000000, partition


@features.check("kafka-leader-election")
def election():
    arguments = ("--election-type", "preferred", "--partition", "0")
    has(
        admin("LeaderElectionCommand", *arguments, "--topic", "perf"),
        r"Valid replica already elected.*perf-0",
    )
    has(
        admin("LeaderElectionCommand", *arguments, "--topic", "nowhere", code=1),
        r"nowhere-0.*UnknownTopicOrPartition",
    )


@features.check("kafka-reassign-partitions")
def reassign():
    path = os.path.join(SCRATCH, "reassign.json")
    broker = re.search(r"Leader: (\d+)", admin("TopicCommand", "--describe", "--topic", "perf")).group(1)
    wanted = {"version": 1, "partitions": [{"topic": "perf", "partition": 0, "replicas": [int(broker)]}]}
    with open(path, "w") as file:
        json.dump(wanted, file)
    told = admin("reassign.ReassignPartitionsCommand", "--reassignment-json-file", path, "--execute")
    has(told, "Successfully started partition reassignment")
    told = admin("reassign.ReassignPartitionsCommand", "--reassignment-json-file", path, "--verify")
    has(told, "Reassignment of partition perf-0 is completed")


@features.check("kafka-features")
def feature_levels():
    told = admin("FeatureCommand", "describe")
    has(
        told,
        r"metadata\.version\s+SupportedMinVersion: 3\.3-IV3\s+SupportedMaxVersion: 4",
        r"transaction\.version\s.*FinalizedVersionLevel: 2",
    )


@features.check("kafka-cluster")
def cluster():
    has(run("ClusterTool", "cluster-id", "--bootstrap-server", BOOTSTRAP), r"Cluster ID: \S{22}")


@features.check("transactions: kafka-producer-perf-test and kafka-transactions")
def transactions():
    run(
        "ProducerPerformance",
        "--topic",
        "tx",
        "--num-records",
        "2000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
        "--transactional-id",
        "perf",
        "--transaction-duration-ms",
        "100",
        "--producer-props",
        "bootstrap.servers=" + BOOTSTRAP,
    )
    told = run(
        "consumer.ConsoleConsumer",
        "--bootstrap-server",
        BOOTSTRAP,
        "--topic",
        "tx",
        "--from-beginning",
        "--isolation-level",
        "read_committed",
        "--max-messages",
        "2000",
    )
    equal(len(told.split("\n")) - 1, 2000, "committed records")
    until(
        lambda: re.search(r"perf\s+\d+\s+\d+\s+CompleteCommit", admin("TransactionsCommand", "list")),
        20,
        "listed",
    )
    has(
        admin("TransactionsCommand", "describe", "--transactional-id", "perf"),
        r"perf\s+\d+\s+\d+\s+CompleteCommit",
    )
    has(
        admin("TransactionsCommand", "describe-producers", "--topic", "tx", "--partition", "0"), r"ProducerId"
    )
    admin("TransactionsCommand", "find-hanging", "--topic", "tx", "--partition", "0")


@features.check("kafka-dump-log reads Floe's files")
def dump():
    folder = os.path.join(os.environ["FLOE_DATA"], "console-0")
    files = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".log")]
    # The file that is being written ends in preallocated zeros, at which the tool stops (FINDINGS.md).
    told = run(
        "DumpLogSegments", "--deep-iteration", "--print-data-log", "--files", ",".join(files), code=None
    )
    equal(len(re.findall(r"payload: value-\d+", told)), 300, "records")


features.run()
