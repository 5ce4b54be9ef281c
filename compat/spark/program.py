"""Structured Streaming and batch queries from topic to topic; `stream IN OUT CHECKPOINT` runs one to be killed."""

import os
import subprocess
import sys
import time
from collections import Counter
from glob import glob

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from features import BOOTSTRAP, Features, equal, until
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

SCRATCH = os.environ["SCRATCH"]
COUNT = 2000
KEYS = 7
PARTITIONS = 2
START_MS = int(time.time()) * 1000 - 7_200_000
features = Features()


def session():
    java_options = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    return (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", ",".join(glob(os.environ["SPARK_JARS"] + "/*.jar")))
        .config("spark.driver.memory", "512m")
        .config("spark.driver.extraJavaOptions", java_options)
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )


def create(*topics):
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in topics]).values():
        future.result(30)


def produce(topic, first=0, count=COUNT):
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    for n in range(first, first + count):
        producer.produce(topic, key=f"key-{n % KEYS}", value=str(n), timestamp=START_MS + n * 1000)
    assert producer.flush(60) == 0


def consumed(topic, isolation="read_committed"):
    """(partition, key, value, headers) of everything in a topic, as librdkafka reads it."""
    settings = {"bootstrap.servers": BOOTSTRAP, "group.id": "checker", "enable.partition.eof": True}
    consumer = Consumer({**settings, "isolation.level": isolation})
    open_partitions = set(range(PARTITIONS))
    found = []
    try:
        consumer.assign([TopicPartition(topic, index, 0) for index in open_partitions])
        while open_partitions:
            message = consumer.poll(30)
            assert message is not None, f"nothing more of {topic}"
            if not message.error():
                found.append((message.partition(), message.key(), message.value(), message.headers()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                open_partitions.discard(message.partition())
            else:
                raise KafkaException(message.error())
    finally:
        consumer.close()
    return found


def source(reader, topic, **options):
    reader = reader.format("kafka").option("kafka.bootstrap.servers", BOOTSTRAP).option("subscribe", topic)
    return reader.option("startingOffsets", "earliest").options(**options).load()


def copying(spark, topic, output, checkpoint, **options):
    """A query that triples the values it finds, in several batches."""
    values = source(spark.readStream, topic, maxOffsetsPerTrigger="300", **options)
    tripled = values.select(
        "key", (f.col("value").cast("string").cast("long") * 3).cast("string").alias("value")
    )
    writer = tripled.writeStream.format("kafka").option("kafka.bootstrap.servers", BOOTSTRAP)
    return writer.option("topic", output).option("checkpointLocation", f"{SCRATCH}/{checkpoint}")


def copy(*arguments, **options):
    """Such a query until it has read everything."""
    copying(*arguments, **options).trigger(availableNow=True).start().awaitTermination()


def recovered(*arguments):
    """Whether the query came to its end; Spark trips over its own metrics when it repeats a batch (SPARK-57438)."""
    try:
        copy(spark, *arguments)
    except StreamingQueryException as failure:
        if "Option.get()" not in str(failure):
            raise
        return False
    return True


def check_copied(output, count):
    found = sorted(int(value) for _partition, _key, value, _headers in consumed(output))
    equal(found, [3 * n for n in range(count)], "values")


@features.check("batch: write and read with keys, headers and partitions")
def batch():
    create("batch")
    header = f.array(f.struct(f.lit("made by").alias("key"), f.lit("spark").cast("binary").alias("value")))
    rows = spark.range(COUNT).select(
        f.concat(f.lit("key-"), f.col("id") % KEYS).alias("key"),
        f.col("id").cast("string").alias("value"),
        (f.col("id") % PARTITIONS).cast("int").alias("partition"),
        header.alias("headers"),
    )
    writer = rows.write.format("kafka").option("kafka.bootstrap.servers", BOOTSTRAP)
    writer.option("topic", "batch").option("includeHeaders", "true").save()
    expected = [
        (n % PARTITIONS, f"key-{n % KEYS}".encode(), str(n).encode(), [("made by", b"spark")])
        for n in range(COUNT)
    ]
    equal(sorted(consumed("batch")), sorted(expected), "records")
    read = source(spark.read, "batch", includeHeaders="true").collect()
    told = [(row.partition, bytes(row.key), bytes(row.value), row.headers[0].key) for row in read]
    equal(sorted(told), sorted((*record[:3], "made by") for record in expected), "rows")


@features.check("batch: offsets by time")
def by_time():
    create("timed")
    produce("timed")
    since = str(START_MS + 1500 * 1000)
    rows = source(spark.read, "timed", startingTimestamp=since).collect()
    equal(sorted(int(row.value) for row in rows), list(range(1500, COUNT)), "values")
    times = {int(row.value): int(row.timestamp.timestamp() * 1000) for row in rows}
    equal(times[1777], START_MS + 1777 * 1000, "timestamp")


@features.check("streaming: source and sink, and a restart from the checkpoint")
def streaming():
    create("words", "tripled")
    produce("words")
    copy(spark, "words", "tripled", "copying")
    check_copied("tripled", COUNT)
    produce("words", COUNT, 500)
    copy(spark, "words", "tripled", "copying")
    check_copied("tripled", COUNT + 500)


@features.check("streaming: counts with state over a restart")
def stateful():
    create("events", "counts")
    for first in (0, COUNT):
        produce("events", first)
        counts = source(spark.readStream, "events").groupBy("key").count()
        rows = counts.select("key", f.col("count").cast("string").alias("value"))
        writer = (
            rows.writeStream.format("kafka").option("kafka.bootstrap.servers", BOOTSTRAP).outputMode("update")
        )
        writer = writer.option("topic", "counts").option("checkpointLocation", f"{SCRATCH}/counting")
        writer.trigger(availableNow=True).start().awaitTermination()
    newest = {key: int(value) for _partition, key, value, _headers in consumed("counts")}
    equal(newest, dict(Counter(f"key-{n % KEYS}".encode() for n in range(2 * COUNT))), "newest counts")


@features.check("transactions: only committed records are read")
def transactions():
    create("transactional")
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "transactional.id": "for spark"})
    producer.init_transactions(30)
    for number in range(6):
        producer.begin_transaction()
        for n in range(100):
            producer.produce("transactional", key=b"k", value=str(number * 100 + n))
        assert producer.flush(60) == 0
        (producer.abort_transaction if number % 2 else producer.commit_transaction)(30)
    options = {"kafka.isolation.level": "read_committed"}
    expected = [n for n in range(600) if n // 100 % 2 == 0]
    rows = source(spark.read, "transactional", **options).collect()
    equal(sorted(int(row.value) for row in rows), expected, "values of a batch")
    create("transactional-out")
    copy(spark, "transactional", "transactional-out", "transactional", **options)
    found = sorted(int(value) for _partition, _key, value, _headers in consumed("transactional-out"))
    equal(found, [3 * n for n in expected], "values of a stream")


@features.check("streaming: a killed query misses nothing")
def killed():
    create("long", "long-out")
    produce("long", 0, 2 * COUNT)
    command = [sys.executable, __file__, "stream", "long", "long-out", "killed"]
    query = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: len(consumed("long-out")) > COUNT // 4, 90, "some batches are written")
    finally:
        os.killpg(query.pid, 9)
        query.wait()
    before = len(consumed("long-out"))
    assert before < 2 * COUNT, "the query was through before it was killed"
    until(lambda: recovered("long", "long-out", "killed"), 60, "the query has gone on to the end")
    found = {int(value) for _partition, _key, value, _headers in consumed("long-out")}
    equal(sorted(found), [3 * n for n in range(2 * COUNT)], "distinct values")


if sys.argv[1:2] == ["stream"]:
    copy(session(), *sys.argv[2:])
else:
    spark = session()
    features.run()
    spark.stop()
