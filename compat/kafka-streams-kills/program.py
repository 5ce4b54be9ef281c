"""A Streams application whose broker is killed three times tells what it tells when nobody is killed.

The broker is one of this program's own. Nothing is cached in the application, so every input gives one record in each
output: the counts of a word are 1, 2, 3, … in order, each once, where processing is exactly once.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from features import Features, equal, until  # noqa: E402

from tests.floe_process import FloeProcess  # noqa: E402

SCRATCH = Path(os.environ["SCRATCH"])
JAVA = ["java", *os.environ["JAVA_FLAGS"].split(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
START_MS = int(time.time()) // 60 * 60_000 - 3_600_000  # a full minute
PARTITIONS = 2
ROUNDS = 4
RECORDS = 500
"""Of a round; between two rounds the broker is killed."""
WORDS, KEYS = 13, 17
OUTPUTS = ("counts", "windows", "joins")
features = Features()
floe = FloeProcess(
    SCRATCH / "killed", {"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "5"}
)


def expected():
    """For each output: values by key, in order."""
    found = {output: defaultdict(list) for output in OUTPUTS}
    for n in range(ROUNDS * RECORDS):
        word, key, minute = f"word-{n % WORDS}", f"key-{n % KEYS}", (START_MS + n * 500) // 60_000 * 60_000
        found["joins"][key].append(f"{word}+text of {key}")
        for output, counted in (("counts", word), ("windows", f"{word}@{minute}")):
            values = found[output][counted]
            values.append(str(len(values) + 1))
    return found


def produce(name, number):
    producer = Producer({"bootstrap.servers": floe.bootstrap, "enable.idempotence": True})
    for n in range(number * RECORDS, (number + 1) * RECORDS):
        producer.produce(
            f"{name}-in", key=f"key-{n % KEYS}", value=f"word-{n % WORDS}", timestamp=START_MS + n * 500
        )
    assert producer.flush(60) == 0


def prepare(name):
    admin = AdminClient({"bootstrap.servers": floe.bootstrap})
    topics = [NewTopic(f"{name}-{end}", PARTITIONS, 1) for end in ("in", "table", *OUTPUTS)]
    for future in admin.create_topics(topics).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": floe.bootstrap})
    for number in range(KEYS):
        producer.produce(
            f"{name}-table", key=f"key-{number}", value=f"text of key-{number}", timestamp=START_MS - 1
        )
    assert producer.flush(60) == 0


def outputs(name, isolation="read_committed"):
    """For each output: values by key, in order."""
    found = {output: defaultdict(list) for output in OUTPUTS}
    settings = {"bootstrap.servers": floe.bootstrap, "group.id": "checker", "enable.partition.eof": True}
    consumer = Consumer({**settings, "isolation.level": isolation})
    try:
        open_ends = {(f"{name}-{output}", index) for output in OUTPUTS for index in range(PARTITIONS)}
        consumer.assign([TopicPartition(*where, 0) for where in open_ends])
        while open_ends:
            message = consumer.poll(30)
            assert message is not None, f"nothing more of {open_ends}"
            if not message.error():
                output = message.topic().rsplit("-", 1)[1]
                found[output][message.key().decode()].append(message.value().decode())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                open_ends.discard((message.topic(), message.partition()))
            elif not message.error().retriable():
                raise KafkaException(message.error())
    finally:
        consumer.close()
    return found


def count(found):
    return sum(len(values) for output in found.values() for values in output.values())


def run(guarantee, name, kills):
    """What the application has told when it is through with everything."""
    prepare(name)
    command = [*JAVA, "-cp", os.environ["CLASS_PATH"], "Application", floe.bootstrap, guarantee, name]
    with (SCRATCH / f"{name}.log").open("wb") as log:
        application = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        for number in range(ROUNDS):
            produce(name, number)
            if kills and number < ROUNDS - 1:
                enough = len(OUTPUTS) * RECORDS * number + RECORDS // 2
                until(
                    lambda enough=enough: count(outputs(name, "read_uncommitted")) > enough, 60, "it goes on"
                )
                floe.kill()
                floe.start()
        everything = len(OUTPUTS) * ROUNDS * RECORDS
        until(lambda: count(outputs(name)) >= everything, 90, f"all {everything} results are there")
        application.stdin.close()
        application.wait(60)
    finally:
        application.kill()
        application.wait()
    return outputs(name)


def check_exactly(found):
    for output, values in expected().items():
        equal(sorted(found[output]), sorted(values), f"keys of {output}")
        for key in values:
            # Words come from several partitions, so only what is counted has one order.
            order = list if output != "joins" else sorted
            equal(order(found[output][key]), order(values[key]), f"{output} of {key}")


@features.check("at_least_once: count, windows and join")
def at_least_once():
    check_exactly(run("at_least_once", "calm-alo", kills=False))


@features.check("at_least_once: nothing is missing after three kills of the broker")
def at_least_once_killed():
    found = run("at_least_once", "killed-alo", kills=True)
    for output, values in expected().items():
        for key in values:
            missing = set(values[key]) - set(found[output][key])
            assert not missing, f"{output} of {key} lacks {sorted(missing)[:5]}"


@features.check("transactions: exactly_once_v2: count, windows and join")
def exactly_once():
    check_exactly(run("exactly_once_v2", "calm-eos", kills=False))


@features.check("transactions: exactly_once_v2: the same after three kills of the broker")
def exactly_once_killed():
    check_exactly(run("exactly_once_v2", "killed-eos", kills=True))


floe.start()
try:
    features.run()
finally:
    floe.end()
