"""A consumer in a process of its own, to be killed and frozen: prints what it read once that is committed.

python -m tests.clients.consuming_process BOOTSTRAP GROUP TOPIC [SETTING=VALUE ...]
"""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, KafkaException


def main(bootstrap: str, group: str, topic: str, *settings: str) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **dict(setting.split("=", 1) for setting in settings),
        }
    )
    consumer.subscribe([topic])
    while True:
        messages = [message for message in consumer.consume(100, 0.1) if message.error() is None]
        if not messages:
            continue
        try:
            consumer.commit(asynchronous=False)
        except KafkaException:
            continue  # it is not its own any more: whoever has it now reads it again
        for message in messages:
            print(message.partition(), message.offset(), flush=False)
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
