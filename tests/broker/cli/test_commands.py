"""The commands against a real Floe process."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli import admin
from broker.cli.client import Client
from broker.cli.consumer import Consumer
from broker.cli.load.fetch import FetchLoad, run_fetch
from broker.cli.load.latency import LatencyLoad, run_latency
from broker.cli.load.produce import ProduceLoad, run_produce
from broker.cli.options import bootstrap_servers
from broker.cli.producer import Options, Producer
from broker.cli.root import floe
from protocol import records
from protocol.api import ApiKey
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.records import Record
from tests.floe_process import FLOE, FloeProcess


class Cli:
    """Runs commands against one broker."""

    def __init__(self, process: FloeProcess) -> None:
        self.process = process

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(
            floe, [*arguments, "--bootstrap-server", self.process.bootstrap], input=stdin
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def ok(self, *arguments: str) -> str:
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def produce(self, tmp_path: Path, text: bytes, *arguments: str) -> Result:
        path = tmp_path / "lines"
        path.write_bytes(text)
        return self("produce", *arguments, "--file", str(path))

    def client(self, max_versions: dict[ApiKey, int] | None = None) -> Client:
        return Client(bootstrap_servers(self.process.bootstrap), max_versions=max_versions)


@pytest.fixture(scope="module")
def cli(shared_floe: FloeProcess) -> Cli:
    return Cli(shared_floe)


def test_a_topic_from_creation_to_deletion(cli: Cli) -> None:
    assert cli.ok("topics", "create", "life", "-p", "2", "-c", "retention.ms=5000") == "Created topic life.\n"
    assert cli("topics", "create", "life").exit_code == 1
    assert "TOPIC_ALREADY_EXISTS" in cli("topics", "create", "life").output
    assert "exists already" in cli.ok("topics", "create", "life", "--if-not-exists")
    listed = json.loads(cli.ok("topics", "list", "-o", "json"))
    (entry,) = [topic for topic in listed if topic["topic"] == "life"]
    assert (entry["partitions"], len(entry["topic_id"])) == (2, 22)
    cli.ok("topics", "alter", "life", "-p", "3", "-c", "max.message.bytes=2000", "--unset", "retention.ms")
    described = json.loads(cli.ok("topics", "describe", "life", "-o", "json"))[0]
    assert described["configs"]["max.message.bytes"] == "2000"
    assert "retention.ms" not in described["configs"]
    assert [(p["partition"], p["earliest_offset"], p["latest_offset"]) for p in described["partitions"]] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
    ]
    cli.ok("topics", "create", "after-life")
    deleted = cli("topics", "delete", "life", "nonesuch", "after-life")
    assert deleted.exit_code == 1 and "nonesuch" in deleted.output
    assert deleted.stdout == "Deleted topic life.\nDeleted topic after-life.\n"
    assert cli("topics", "delete", "life").exit_code == 1
    assert cli("topics", "delete", "life", "--if-exists").exit_code == 0


def test_a_missing_topic_says_how_to_make_it(cli: Cli) -> None:
    result = cli("consume", "missing-topic")
    assert result.exit_code == 1
    assert "UNKNOWN_TOPIC_OR_PARTITION" in result.output
    assert "floe topics create missing-topic" in result.output


def test_names_and_settings_that_cannot_be(cli: Cli) -> None:
    assert "INVALID_TOPIC_EXCEPTION" in cli("topics", "create", "a/b").output
    assert "INVALID_CONFIG" in cli("topics", "create", "badconfig", "-c", "no.such=1").output
    assert "INVALID_PARTITIONS" in cli("topics", "alter", _topic(cli, "few", 2), "-p", "1").output


def _topic(cli: Cli, name: str, partitions: int = 1) -> str:
    cli.ok("topics", "create", name, "-p", str(partitions), "--if-not-exists")
    return name


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_is_produced_is_consumed(cli: Cli, tmp_path: Path, codec: str) -> None:
    topic = _topic(cli, f"round-{codec}")
    text = b"a=1|k1:v1\n|NULL:NULL\nb,c=|k3:\xff\n"
    arguments = ["-k", ":", "--headers-separator", "|", "--null", "NULL", "-z", codec, "-t", "1700000000000"]
    result = cli.produce(tmp_path, text, topic, *arguments, "--idempotent")
    assert result.exit_code == 0, result.output
    assert "Sent 3 records" in result.output
    lines = cli.ok("consume", topic, "-e", "-o", "json").splitlines()
    found = [json.loads(line) for line in lines]
    assert [entry["offset"] for entry in found] == [0, 1, 2]
    assert {entry["timestamp"] for entry in found} == {1_700_000_000_000}
    assert [entry["key"] for entry in found] == ["k1", None, "k3"]
    assert [found[0]["value"], found[1]["value"], found[2]["value_base64"]] == ["v1", None, "/w=="]
    assert found[2]["headers"] == [{"key": "b", "value": None}, {"key": "c", "value": ""}]


def test_where_to_start_and_stop(cli: Cli, tmp_path: Path) -> None:
    topic = _topic(cli, "starts")
    for second in range(4):
        cli.produce(tmp_path, b"a%d\nb%d\n" % (second, second), topic, "-t", f"2024-01-01T00:00:0{second}")

    def values(*arguments: str) -> list[str]:
        return cli.ok("consume", topic, *arguments).split()

    assert values("-e") == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]
    assert values("--from", "5", "-e") == ["b2", "a3", "b3"]
    assert values("--from", "-1", "-e") == ["b3"]
    assert values("--from", "2024-01-01T00:00:02", "-e") == ["a2", "b2", "a3", "b3"]
    assert values("--from", "2025-01-01", "-e") == []
    assert values("--from", "latest", "-e") == []
    assert values("-n", "3") == ["a0", "b0", "a1"]
    assert values("-n", "0") == []
    assert "has 0 to 8" in cli("consume", topic, "--from", "99").output
    assert "has no partition 3" in cli("consume", topic, "-p", "3").output
    assert cli("consume", topic, "--format", "%q").exit_code == 2


def test_keys_are_spread_as_the_java_client_does(cli: Cli, tmp_path: Path) -> None:
    topic = _topic(cli, "spread", 3)
    cli.produce(tmp_path, b"21:x\nfoobar:y\nabc:z\n", topic, "-k", ":")
    lines = cli.ok("consume", topic, "-e", "-f", "%k=%p\\n").split()
    expected = {"21": -973932308, "foobar": -790332482, "abc": 479470107}
    assert sorted(lines) == sorted(f"{key}={(value & 0x7FFFFFFF) % 3}" for key, value in expected.items())


def test_a_batch_too_large_is_refused_with_a_way_out(cli: Cli, tmp_path: Path) -> None:
    topic = _topic(cli, "narrow")
    cli.ok("configs", "set", "topic", topic, "max.message.bytes=500")
    result = cli.produce(tmp_path, b"x" * 1000, topic)
    assert result.exit_code == 1
    assert "MESSAGE_TOO_LARGE" in result.output
    assert "--batch-bytes" in result.output


def test_a_line_without_separator_fails_and_what_came_before_is_sent(cli: Cli, tmp_path: Path) -> None:
    topic = _topic(cli, "halfway")
    result = cli.produce(tmp_path, b"k:v\nno separator\n", topic, "-k", ":")
    assert result.exit_code == 1
    assert "Line 2 has no key separator" in result.output
    assert cli.ok("consume", topic, "-e") == "v\n"


def test_settings_with_source_and_default(cli: Cli) -> None:
    topic = _topic(cli, "settings")
    cli.ok("configs", "set", "topic", topic, "max.message.bytes=1234", "cleanup.policy=compact")
    found = {
        s["name"]: s for s in json.loads(cli.ok("configs", "describe", "topic", topic, "--all", "-o", "json"))
    }
    assert found["max.message.bytes"]["value"] == "1234"
    assert found["max.message.bytes"]["source"] == "topic"
    assert found["max.message.bytes"]["default"] == "1048588"
    assert found["segment.bytes"]["source"] == "default"
    cli.ok("configs", "unset", "topic", topic, "max.message.bytes")
    assert "max.message.bytes" not in cli.ok("configs", "describe", "topic", topic)
    cli.ok("configs", "unset", "topic", topic, "retention.ms")  # is at its default
    for wrong, meant in (("retention.msx", "mean retention.ms?"), ("nonsense", "describe … --all")):
        for command in (
            ("configs", "unset", "topic", topic, wrong),
            ("topics", "alter", topic, "--unset", wrong),
        ):
            refused = cli(*command)
            assert refused.exit_code == 1 and f"no such setting: {wrong}." in refused.output
            assert meant in refused.output
    cli.ok("configs", "unset", "broker", "default", "log.retention.ms")
    assert "no such setting" in cli("configs", "unset", "broker", "default", "log.retention.msx").output
    assert "no such setting" in cli("configs", "unset", "broker", "1", "log.retention.msx").output
    cli.ok("configs", "unset", "group", "some", "consumer.session.timeout.ms")
    assert "no such setting" in cli("configs", "unset", "group", "some", "nonsense").output
    assert "INVALID_CONFIG" in cli("configs", "set", "topic", topic, "retention.ms=soon").output
    assert "not a broker id" in cli("configs", "describe", "broker", "x").output
    assert "listeners" in cli.ok("configs", "describe", "broker", "1", "--all")


@pytest.mark.parametrize(("produce", "fetch"), [(0, 0), (1, 1), (2, 2), (3, 4), (7, 11), (12, 12)])
def test_old_versions_write_and_read_the_same(cli: Cli, produce: int, fetch: int) -> None:
    """As a broker of that age would have it: message formats 0 and 1 below Produce 3 and Fetch 4."""
    topic = _topic(cli, f"versions-{produce}")
    limits = {
        ApiKey.PRODUCE: produce,
        ApiKey.FETCH: fetch,
        ApiKey.METADATA: 1,
        ApiKey.LIST_OFFSETS: min(fetch, 1),
    }
    with cli.client(limits) as client:
        client.topic(topic)
        for compression in (0, 1):
            producer = Producer(client, topic, Options(compression=compression))
            for number in range(3):
                producer.add(0, Record(timestamp=1000, key=b"k", value=b"%d" % number))
            producer.flush()
            assert producer.records_sent == 3
        ends = admin.list_offsets(client, topic, [0], admin.LATEST)
        assert ends == {0: 6}
        consumer = Consumer(client, topic, {0: 1}, ends)
        found = [item for item in consumer.records() if item is not None]
    assert [record.offset for _, record in found] == [1, 2, 3, 4, 5]
    assert [record.value for _, record in found] == [b"1", b"2", b"0", b"1", b"2"]


def test_a_committed_reader_reads_what_is_outside_transactions(cli: Cli) -> None:
    topic = _topic(cli, "transactions")
    with cli.client() as client:
        plain = records.build([Record(timestamp=1, value=b"plain")])
        topic_id = bytes(client.topic(topic).topic_id)
        data = TopicProduceData(
            topic_id=topic_id, partition_data=[PartitionProduceData(index=0, records=bytes(plain))]
        )
        client.leader(topic, 0).request(
            ApiKey.PRODUCE, ProduceRequest(acks=-1, timeout_ms=9999, topic_data=[data])
        )
        ends = admin.list_offsets(client, topic, [0], admin.LATEST, admin.READ_COMMITTED)
        consumer = Consumer(client, topic, {0: 0}, ends, admin.READ_COMMITTED)
        assert [item[1].value for item in consumer.records() if item] == [b"plain"]


def test_load_is_what_the_log_then_holds(cli: Cli) -> None:
    topic = _topic(cli, "load")
    with cli.client() as client:
        alone = run_produce(client, ProduceLoad(topic, records_per_batch=5, duration_s=0.2))
        many = run_produce(
            client, ProduceLoad(topic, records_per_batch=5, connections=3, acks=1, duration_s=0.2)
        )
        unanswered = run_produce(client, ProduceLoad(topic, records_per_batch=5, acks=0, duration_s=0.1))
        assert not alone.errors and not many.errors
        total = alone.records + many.records + unanswered.records
        # acks=0 and 1 answer before the sync that makes records visible: a write behind them waits for it.
        total += run_produce(client, ProduceLoad(topic, records_per_batch=5, duration_s=0.01)).records
        assert admin.list_offsets(client, topic, [0], admin.LATEST) == {0: total}
        read = run_fetch(client, FetchLoad(topic, max_bytes=1 << 20, duration_s=0.2))
        assert read.records >= total
        latencies = run_latency(client, LatencyLoad(topic, rate=200, records_per_batch=2, duration_s=0.2))
        assert len(latencies.acknowledged.latencies_s) == len(latencies.delivered.latencies_s) == 40
        assert latencies.delivered.records == 80


def test_refused_load_is_an_error_and_no_record(cli: Cli) -> None:
    topic = _topic(cli, "refused")
    cli.ok("configs", "set", "topic", topic, "max.message.bytes=80")
    with cli.client() as client:
        measurement = run_produce(client, ProduceLoad(topic, duration_s=0.1))
    assert measurement.records == 0
    assert measurement.errors["MESSAGE_TOO_LARGE"] == measurement.requests > 0


def test_bench_prints_a_line_and_json(cli: Cli) -> None:
    short = ["--duration", "0.2", "--warm-up", "0", "--topic", "benched"]
    document = json.loads(cli.ok("bench", "produce", *short, "-o", "json"))
    assert document["produce"]["requests_per_s"] > 0
    assert "RECORDS/S" in cli.ok("bench", "consume", *short)
    assert "delivered" in cli.ok("bench", "latency", *short, "--rate", "50")


def test_the_folder_of_a_stopped_broker_verifies(
    start_floe: Callable[..., FloeProcess], tmp_path: Path
) -> None:
    process = start_floe()
    cli = Cli(process)
    for codec in ("none", "lz4"):
        assert cli.produce(tmp_path, b"one\ntwo\n", "offline", "-z", codec).exit_code == 0
    assert process.stop() == 0
    result = CliRunner().invoke(floe, ["log", "verify", str(process.data_dir), "--deep"])
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.output.splitlines() if line.startswith("offline-0")]
    assert row.split()[2:5] == ["0-3", "2", "4"]


def test_following_prints_at_once_and_ctrl_c_ends_it_without_a_traceback(cli: Cli, tmp_path: Path) -> None:
    topic = _topic(cli, "followed")
    command = [str(FLOE), "consume", topic, "--bootstrap-server", cli.process.bootstrap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        cli.produce(tmp_path, b"first\n", topic)
        assert process.stdout.readline() == b"first\n"
        cli.produce(tmp_path, b"second\n", topic)
        assert process.stdout.readline() == b"second\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert b"Traceback" not in process.stderr.read()


def test_a_reader_that_has_enough_ends_the_command_quietly(cli: Cli, tmp_path: Path) -> None:
    topic = _topic(cli, "plenty")
    cli.produce(tmp_path, b"line\n" * 50_000, topic)
    command = [str(FLOE), "consume", topic, "--bootstrap-server", cli.process.bootstrap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def test_stdin_is_sent_when_it_pauses(cli: Cli) -> None:
    topic = _topic(cli, "typed")
    command = [str(FLOE), "produce", topic, "--linger", "0", "--bootstrap-server", cli.process.bootstrap]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(b"typed\n")
        process.stdin.flush()
        assert cli.ok("consume", topic, "-n", "1") == "typed\n"
        process.stdin.close()
        assert process.wait(30) == 0
        assert b"Sent 1 records" in process.stderr.read()


def test_serve_refuses_what_it_does_not_know() -> None:
    for arguments in (["--set", "no.such.setting=1"], ["--set", "log.retention.ms=soon"], ["--set", "x"]):
        result = CliRunner().invoke(floe, ["serve", *arguments])
        assert result.exit_code == 2, result.output


def test_a_broker_that_creates_nothing_by_itself(
    start_floe: Callable[..., FloeProcess], tmp_path: Path
) -> None:
    cli = Cli(start_floe(auto_create_topics_enable="false"))
    result = cli.produce(tmp_path, b"x\n", "absent", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "floe topics create absent" in result.output


def test_a_generated_clickstream_is_in_the_topic_as_told(cli: Cli) -> None:
    sent = json.loads(
        cli.ok(
            "generate", "clickstream", "clicks", "-n", "2500", "--start", "2026-01-01T00:00:00", "-o", "json"
        )
    )
    assert sent["records"] == 2500
    lines = cli.ok("consume", "clicks", "--until-end", "-o", "json").splitlines()
    events = [json.loads(json.loads(line)["value"]) for line in lines]
    assert sorted(event["event_id"] for event in events) == list(range(2500))
    assert json.loads(lines[0])["timestamp"] == 1_767_225_600_000
