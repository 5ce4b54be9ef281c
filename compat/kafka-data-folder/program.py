"""Data folders change hands: what Apache Kafka wrote is served by Floe, and the other way round."""

import re
import shutil
import sys
from pathlib import Path

from confluent_kafka.admin import AdminClient

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from contents import committed, described, fill, records, snapshot, transactional, watermarks  # noqa: E402
from features import Features, equal, until  # noqa: E402
from workers import SCRATCH, JavaProcess, free_port, java, properties  # noqa: E402

from tests.floe_process import FloeProcess  # noqa: E402

SCRATCH_FOLDER = Path(SCRATCH)
SETTINGS = {
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
    "log.cleaner.backoff.ms": "200",
}
KAFKA_SETTINGS = {**SETTINGS, "log.initial.task.delay.ms": "500"}
features = Features()


class Kafka:
    """An Apache Kafka of one node on a data folder, which is formatted if nobody has done that."""

    def __init__(self, folder):
        self.folder = folder
        self._port, self._controller_port = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self._port}"
        self._path = self._write_properties()
        if not (folder / "meta.properties").exists():
            cluster_id = java("kafka.tools.StorageTool", "random-uuid").split()[-1]
            java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", self._path)
        self._process = JavaProcess(folder.name, "kafka.Kafka", self._path)
        until(self._serves, 90, f"Kafka serves {folder.name}")

    def _write_properties(self):
        more = {key.replace(".", "_"): value for key, value in KAFKA_SETTINGS.items()}
        return properties(
            self.folder.name + ".properties",
            process_roles="broker,controller",
            node_id="1",
            controller_quorum_voters=f"1@127.0.0.1:{self._controller_port}",
            listeners=f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self._controller_port}",
            advertised_listeners=f"PLAINTEXT://{self.bootstrap}",
            controller_listener_names="CONTROLLER",
            listener_security_protocol_map="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            inter_broker_listener_name="PLAINTEXT",
            log_dirs=str(self.folder),
            offsets_topic_replication_factor="1",
            transaction_state_log_replication_factor="1",
            transaction_state_log_min_isr="1",
            **more,
        )

    def _serves(self):
        assert not self._process.has_ended, f"Kafka ended: {self._process.log()[-2000:]}"
        try:
            AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0}).list_topics(timeout=2)
        except Exception:
            return False
        return True

    @property
    def is_running(self):
        """Whether its process is there."""
        return not self._process.has_ended

    def stop(self):
        """A clean stop."""
        self._process.close()

    def kill(self):
        """SIGKILL."""
        self._process.kill()


def floe_on(folder):
    return FloeProcess(folder, SETTINGS).start()


def without_floes_own(folder):
    """What a user does before Kafka opens a folder of Floe's: remove the folders that are no partitions.

    Checkpoints that are made again at the next start, and the tables' files where they lie in the data folder.
    """
    for path in folder.iterdir():
        if path.is_dir() and not re.fullmatch(r".+-\d+", path.name):
            shutil.rmtree(path)


class Folder:
    """One folder through the hands of both, and what was seen in it."""

    def __init__(self, name):
        self.path = SCRATCH_FOLDER / name
        self.broker = None
        self.seen = self.described = self.committed = None

    def served_by(self, start):
        self.close()
        self.broker = start(self.path)
        return self.broker.bootstrap

    def remember(self):
        """Look at everything."""
        bootstrap = self.broker.bootstrap
        self.seen, self.described, self.committed = (
            snapshot(bootstrap),
            described(bootstrap),
            committed(bootstrap),
        )
        equal(len(self.seen["transactions-0"]["read_committed"]), 150, "records of committed transactions")
        equal(len(self.seen["transactions-0"]["read_uncommitted"]), 250, "records of all transactions")

    def compare(self):
        """Look again: the same."""
        bootstrap = self.broker.bootstrap
        for partition, found in snapshot(bootstrap).items():
            for view, value in found.items():
                equal(value, self.seen[partition][view], f"{view} of {partition}")
        equal(described(bootstrap), self.described, "ids and settings")
        equal(committed(bootstrap), self.committed, "offsets of the group")

    def close(self):
        """Stop whoever serves it."""
        if self.broker is not None and self.broker.is_running:
            self.broker.stop()
        self.broker = None

    def end(self):
        """Whatever state it is in, its broker is gone after this."""
        if isinstance(self.broker, FloeProcess):
            self.broker.end()
        elif self.broker is not None:
            self.broker.kill()


def kafka_on(folder):
    folder.mkdir(exist_ok=True)
    without_floes_own(folder)
    return Kafka(folder)


def go_on(bootstrap, text):
    """The transactional id goes on: one more transaction behind everything there is."""
    end = watermarks(bootstrap, "transactions", 0)[1]
    producer = transactional(bootstrap)
    producer.begin_transaction()
    producer.produce("transactions", key=b"more", value=text)
    producer.commit_transaction(60)
    found = records(bootstrap, "transactions", 0, "read_committed")
    equal((found[-1][0], found[-1][3]), (end, text), "the record behind the others")


def leave_open(bootstrap, text):
    """A transaction that its producer never ends."""
    producer = transactional(bootstrap, "gone")
    producer.begin_transaction()
    producer.produce("transactions", key=b"open", value=text)
    assert producer.flush(60) == 0
    return producer


def open_transaction_is_kept(bootstrap, text):
    """Hidden from read_committed, there for others; its id's next producer ends it."""
    found = records(bootstrap, "transactions", 0)
    equal(found[-1][3], text, "the record of the open transaction")
    committed_before = records(bootstrap, "transactions", 0, "read_committed")
    assert text not in [record[3] for record in committed_before], "a record of an open transaction was read"
    producer = transactional(bootstrap, "gone")
    producer.begin_transaction()
    producer.produce("transactions", key=b"after", value=b"after " + text)
    producer.commit_transaction(60)
    found = records(bootstrap, "transactions", 0, "read_committed")
    equal(
        [record[3] for record in found[len(committed_before) :]],
        [b"after " + text],
        "what was committed since",
    )


kafkas, floes = Folder("kafka"), Folder("floe")


@features.check("Kafka's folder in Floe: topics, records, offsets by time, transactions, group")
def kafka_to_floe():
    fill(kafkas.served_by(kafka_on))
    kafkas.remember()
    kafkas.served_by(floe_on)
    kafkas.compare()


@features.check("Kafka's folder in Floe: producers go on")
def kafka_to_floe_goes_on():
    go_on(kafkas.broker.bootstrap, b"by Floe")
    kafkas.seen = snapshot(kafkas.broker.bootstrap)


@features.check("Kafka's folder in Floe and back")
def back_to_kafka():
    kafkas.served_by(kafka_on)
    kafkas.compare()


@features.check("the folder of a killed Kafka in Floe")
def killed_kafka():
    leave_open(kafkas.broker.bootstrap, b"left by Kafka")
    kafkas.broker.kill()
    open_transaction_is_kept(kafkas.served_by(floe_on), b"left by Kafka")


@features.check("Floe's folder in Kafka: topics, records, offsets by time, transactions, group")
def floe_to_kafka():
    kafkas.close()
    fill(floes.served_by(floe_on))
    floes.remember()
    floes.served_by(kafka_on)
    floes.compare()


@features.check("Floe's folder in Kafka: producers go on")
def floe_to_kafka_goes_on():
    go_on(floes.broker.bootstrap, b"by Kafka")
    floes.seen = snapshot(floes.broker.bootstrap)


@features.check("Floe's folder in Kafka and back")
def back_to_floe():
    floes.served_by(floe_on)
    floes.compare()


@features.check("the folder of a killed Floe in Kafka")
def killed_floe():
    leave_open(floes.broker.bootstrap, b"left by Floe")
    floes.broker.kill()
    open_transaction_is_kept(floes.served_by(kafka_on), b"left by Floe")


try:
    features.run()
finally:
    kafkas.end()
    floes.end()
