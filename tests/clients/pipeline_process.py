"""A consume-transform-produce pipeline of confluent-kafka, to be killed: what it reads it writes, exactly once.

    python -m tests.clients.pipeline_process <bootstrap> <transactional id> <input> <output> <seed>

Runs until it is killed, or ends with status 3 when it cannot go on (fenced); whoever started it starts it again.
SIGQUIT has it write its stack down, as a JVM does.

librdkafka's `send_offsets_to_transaction` does not keep to its time-out: called in the moment the coordinator goes
away, it may never return (https://github.com/confluentinc/librdkafka/issues/5456), while its group waits for a
member that goes on sending heartbeats. So a transaction that takes HANG_LIMIT_S ends the process.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
from random import Random

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

LIMIT_S = 10.0
HANG_LIMIT_S = 15.0
BATCH = 25
GROUP = "pipeline"


def transform(
    producer: Producer, consumer: Consumer, messages: list[Message], output: str, *, aborts: bool
) -> None:
    """One transaction; raises KafkaException."""
    producer.begin_transaction()
    ends: dict[tuple[str, int], int] = {}
    for message in messages:
        producer.produce(output, message.value(), partition=message.partition())
        ends[message.topic(), message.partition()] = message.offset() + 1
    positions = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
    producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), LIMIT_S)
    if aborts:
        producer.abort_transaction(LIMIT_S)
        rewind(consumer)
    else:
        producer.commit_transaction(LIMIT_S)


def rewind(consumer: Consumer) -> None:
    """Read again what has not been committed."""
    for position in consumer.committed(consumer.assignment(), LIMIT_S):
        consumer.seek(TopicPartition(position.topic, position.partition, max(0, position.offset)))


def main() -> None:
    bootstrap, transactional_id, source, output, seed = sys.argv[1:]
    random = Random(seed)
    quick = {"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200}
    producer = Producer({**quick, "transactional.id": transactional_id, "transaction.timeout.ms": 5000})
    consumer = Consumer(
        {
            **quick,
            "group.id": GROUP,
            "session.timeout.ms": 6000,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    producer.init_transactions(LIMIT_S)
    consumer.subscribe([source])
    while True:
        messages = [message for message in consumer.consume(BATCH, 0.2) if message.error() is None]
        if not messages:
            continue
        faulthandler.dump_traceback_later(HANG_LIMIT_S, exit=True)
        try:
            transform(producer, consumer, messages, output, aborts=random.random() < 0.1)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                sys.exit(3)
            producer.abort_transaction(LIMIT_S)
            rewind(consumer)
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    faulthandler.register(signal.SIGQUIT)
    try:
        main()
    except KafkaException:
        sys.exit(3)
