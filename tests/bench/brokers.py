"""The brokers under test as processes: Floe, and Apache Kafka in KRaft combined mode with its own script's
JVM flags.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from broker.cli.client import Client, Connection
from broker.cli.errors import CommandFailed

KAFKA_VERSION = "4.3.1"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
_HERE = Path(__file__).parent
_JVM_FLAGS = (
    "-Xmx1G",
    "-Xms1G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
# Both free a deleted topic's space at once: a run must not fill the disk with the data of those before it.
_DELETE_DELAY = ("log.segment.delete.delay.ms", "1000")

_KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
{delete_delay}
"""

_KAFKA: tuple[str, ...] = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
    "org.slf4j:slf4j-simple:1.7.36",
)


class BrokerProcess:
    """A broker that can be started and stopped again on the same data; `command` says how."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        return "127.0.0.1", self.port

    @property
    def bootstrap(self) -> str:
        """`host:port` for librdkafka."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def start(self) -> float:
        """Start it and return the seconds until it answered ApiVersions."""
        with (self.folder / "log").open("ab") as log:
            started = time.perf_counter()
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        _wait_for_answer(self)
        return time.perf_counter() - started

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def client(self) -> Client:
        """Return our own client, connected to it."""
        return Client([self.address], timeout_s=60.0, client_id="floe-bench")

    def resident_mebibytes(self) -> float:
        """Return VmRSS of the process and its children."""
        assert self.process is not None
        return sum(_resident_kib(pid) for pid in _with_children(self.process.pid)) / 1024

    def wait_until_gone(self, topic: str, limit_s: float = 15.0) -> None:
        """Wait until a deleted topic's files are gone, then let the disk settle: the next run starts with
        clean pages.
        """
        deadline = time.monotonic() + limit_s
        while any(self.data.glob(f"**/{topic}-*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.sync()

    def last_words(self) -> str:
        """Return the end of its log."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]


class Floe(BrokerProcess):
    """The broker of this repository, as the console script starts it."""

    name = "floe"

    def command(self) -> list[str]:
        """`floe serve` with its defaults, but without tables: their worker would go on in the other broker's turn, and
        has a benchmark of its own (`tables.py`)."""
        floe = Path(sys.executable).with_name("floe")
        setting = "=".join(_DELETE_DELAY)
        return [
            str(floe),
            "serve",
            "--data-dir",
            str(self.data),
            "--listen",
            self.bootstrap,
            "--set",
            setting,
            "--set",
            "floe.table.enable=false",
            "--set",
            "group.initial.rebalance.delay.ms=0",  # as the Kafka beside it, and so is the next
            "--set",
            "floe.log.level=warning",
        ]


class Kafka(BrokerProcess):
    """Apache Kafka from a folder of jars."""

    name = "kafka"

    def __init__(self, folder: Path, jars: Path) -> None:
        super().__init__(folder)
        self.class_path = f"{jars}/*"
        self.properties = folder / "server.properties"
        self.properties.write_text(
            _KAFKA_PROPERTIES.format(
                port=self.port,
                controller_port=free_port(),
                data=self.data,
                delete_delay="=".join(_DELETE_DELAY),
            )
        )
        self._format()

    def _format(self) -> None:
        tool = ["java", "-cp", self.class_path, "kafka.tools.StorageTool"]
        cluster_id = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=True)
        format_command = [*tool, "format", "-t", cluster_id.stdout.split()[-1], "-c", str(self.properties)]
        subprocess.run(format_command, capture_output=True, check=True)

    def command(self) -> list[str]:
        """The JVM and Kafka's main class."""
        return ["java", *_JVM_FLAGS, "-cp", self.class_path, "kafka.Kafka", str(self.properties)]


def sync_microseconds(folder: Path, rounds: int = 300) -> float:
    """Median time of an fdatasync of 200 bytes in a preallocated file: what an acknowledgement costs this disk now."""
    path = folder / "sync-probe"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    times: list[float] = []
    try:
        os.posix_fallocate(descriptor, 0, 1 << 20)
        for index in range(rounds):
            os.pwrite(descriptor, b"x" * 200, index * 200)
            started = time.perf_counter()
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(times)[rounds // 2] * 1e6


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def find_kafka_jars() -> Path | str:
    """Return the folder of Kafka's jars, fetching them through Maven if need be, or why there are none."""
    if shutil.which("java") is None:
        return "java is not installed"
    given = os.environ.get("FLOE_KAFKA_JARS")
    if given:
        return (
            Path(given)
            if any(Path(given).glob("kafka_2.13-*.jar"))
            else f"FLOE_KAFKA_JARS={given} holds no Kafka"
        )
    return fetch_jars(KAFKA_VERSION, _KAFKA)


def fetch_jars(name: str, coordinates: Sequence[str]) -> Path | str:
    """Return a folder of jars (`group:artifact:version`) and what they need, or why Maven did not fetch them."""
    jars = _HERE / ".kafka" / name
    if any(jars.glob("*.jar")):
        return jars
    if shutil.which("mvn") is None:
        return "mvn is not installed, which would fetch the jars (FLOE_KAFKA_JARS names a folder of Kafka's)"
    # Beside its place and renamed when complete, for two may be fetching at the same time.
    arriving = jars.with_name(f"{name}.{os.getpid()}")
    arriving.mkdir(parents=True)
    pom = arriving / "pom.xml"
    pom.write_text(_pom(coordinates))
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    fetched = subprocess.run(
        [*command, f"-DoutputDirectory={arriving}"], capture_output=True, text=True, check=False
    )
    if fetched.returncode:
        shutil.rmtree(arriving)
        return f"Maven could not fetch {', '.join(coordinates)}: {fetched.stdout[-500:]}"
    try:
        arriving.rename(jars)
    except OSError:  # somebody else was first
        shutil.rmtree(arriving)
    return jars


def _pom(coordinates: Sequence[str]) -> str:
    names = ("groupId", "artifactId", "version")
    dependencies = "".join(
        "<dependency>"
        + "".join(f"<{name}>{part}</{name}>" for name, part in zip(names, one.split(":")))
        + "</dependency>"
        for one in coordinates
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>bench</groupId><artifactId>bench</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def _wait_for_answer(broker: BrokerProcess) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            Connection(broker.address, timeout_s=START_LIMIT_S, client_id="floe-bench").close()
            return
        except CommandFailed as error:
            assert broker.process is not None
            if broker.process.poll() is not None:
                raise CommandFailed(
                    f"{broker.name} ended with {broker.process.returncode}:\n{broker.last_words()}"
                ) from error
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def _with_children(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in children.read_text().split()]
    return found


def _resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
