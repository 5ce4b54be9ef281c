"""A distributed worker of Kafka Connect with the file source and sink, and its internal topics."""

import os

from features import BOOTSTRAP, Features, equal, until
from workers import SCRATCH, JavaProcess, free_port, properties, rest

CONNECT = "org.apache.kafka.connect.cli.ConnectDistributed"
STRING = "org.apache.kafka.connect.storage.StringConverter"
PORT = free_port()
URL = f"http://127.0.0.1:{PORT}"
SOURCE = os.path.join(SCRATCH, "source.txt")
SINK = os.path.join(SCRATCH, "sink.txt")
features = Features()


def start(name, **settings):
    base = {
        "bootstrap_servers": BOOTSTRAP,
        "group_id": "connect",
        "key_converter": STRING,
        "value_converter": STRING,
        "offset_flush_interval_ms": "500",
        "scheduled_rebalance_max_delay_ms": "0",
        "listeners": URL,
        "plugin_path": SCRATCH + "/plugins",  # none: the connectors are on the class path
        "plugin_discovery": "service_load",
    }
    for kind in ("config", "offset", "status"):
        base[f"{kind}_storage_topic"] = f"connect-{kind}"
        base[f"{kind}_storage_replication_factor"] = "1"
    return JavaProcess(name, CONNECT, properties(name + ".properties", **dict(base, **settings)))


def started(worker):
    def answers():
        if worker.has_ended:
            raise AssertionError("the worker ended: " + worker.log()[-800:])
        return rest("GET", URL + "/connectors") is not None

    until(answers, 90, "the worker answers")


def running(name):
    status = rest("GET", f"{URL}/connectors/{name}/status")
    if status and any(task["state"] == "FAILED" for task in status["tasks"]):
        raise AssertionError(str(status))
    return status and [task["state"] for task in status["tasks"]] == ["RUNNING"]


def put(name, **config):
    until(lambda: rest("PUT", f"{URL}/connectors/{name}/config", config), 30, f"{name} is accepted")
    until(lambda: running(name), 30, f"{name} runs")


def sunk():
    if not os.path.exists(SINK):
        return []
    with open(SINK) as file:
        return file.read().split("\n")[:-1]


def append(first, count):
    with open(SOURCE, "a") as file:
        file.write("".join(f"line {n}\n" for n in range(first, first + count)))


def arrive(count):
    until(lambda: len(sunk()) >= count, 40, f"{count} lines in the sink")
    equal(sunk(), [f"line {n}" for n in range(count)], "lines of the sink")


os.mkdir(SCRATCH + "/plugins")
worker = start("connect-1")


@features.check("distributed worker starts with its internal topics")
def starts():
    started(worker)
    assert "ERROR" not in worker.log(), worker.log()[-800:]


@features.check("file source to file sink")
def files():
    append(0, 500)
    source = {"connector.class": "FileStreamSource", "tasks.max": "1", "file": SOURCE, "topic": "lines"}
    put("source", **source)
    sink = {"connector.class": "FileStreamSink", "tasks.max": "1", "file": SINK, "topics": "lines"}
    put("sink", **dict(sink, **{"consumer.override.auto.offset.reset": "earliest"}))
    arrive(500)
    append(500, 300)
    arrive(800)


@features.check("offsets are read back over REST")
def offsets():
    def reached():
        found = rest("GET", f"{URL}/connectors/sink/offsets")
        return found and [one["offset"]["kafka_offset"] for one in found["offsets"]] == [800]

    until(reached, 30, "the sink's offset is 800")

    def read_to_the_end():
        found = rest("GET", f"{URL}/connectors/source/offsets")
        return found and [one["offset"]["position"] for one in found["offsets"]] == [os.path.getsize(SOURCE)]

    until(read_to_the_end, 30, "the source's offset is the end of the file")


@features.check("a new worker goes on where the last one stopped")
def resumes():
    global worker
    worker.close()
    append(800, 200)
    worker = start("connect-2")
    started(worker)
    until(lambda: running("source") and running("sink"), 60, "both connectors run again")
    arrive(1000)


@features.check("a connector is paused, resumed and deleted")
def lifecycle():
    rest("PUT", f"{URL}/connectors/sink/pause")
    until(
        lambda: rest("GET", f"{URL}/connectors/sink/status")["connector"]["state"] == "PAUSED", 30, "paused"
    )
    rest("PUT", f"{URL}/connectors/sink/resume")
    until(lambda: running("sink"), 30, "resumed")
    append(1000, 10)
    arrive(1010)
    rest("DELETE", f"{URL}/connectors/sink")
    until(lambda: rest("GET", f"{URL}/connectors") == ["source"], 30, "deleted")


@features.check("transactions: exactly-once source")
def exactly_once():
    global worker
    worker.close()
    worker = start("connect-3", exactly_once_source_support="enabled")
    started(worker)
    until(lambda: running("source"), 60, "the source runs again")
    append(1010, 10)
    sink = {"connector.class": "FileStreamSink", "tasks.max": "1", "file": SINK, "topics": "lines"}
    with open(SINK, "w"):
        pass
    overrides = {
        "consumer.override.auto.offset.reset": "earliest",
        "consumer.override.isolation.level": "read_committed",
    }
    put("again", **dict(sink, **overrides))
    arrive(1020)


try:
    features.run()
finally:
    worker.close()
