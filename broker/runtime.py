"""The process: what is started in which order, the background work, and how it ends.

Start   data folder (locked) → flusher → catalog (checkpoint, then the tail of the metadata log) → recovery of what an
        unclean stop left → listeners → one line with the address on standard output.
Run     one event loop owns all state. The flusher's thread reports finished rounds with one wake-up each.
Stop    SIGTERM or SIGINT: no new connections, answers to what was asked, logs closed and marked clean, status 0.
        A failed sync or a broken assertion ends the process at once, unclean: the log is the truth.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from broker.config import Endpoint
from broker.fetching.sessions import FetchSessions
from broker.logs import configure_logging
from broker.parts import Parts
from broker.polling import new_event_loop
from broker.router import Router
from broker.server import Limits, Server
from broker.topics.catalog import Catalog, Topic
from broker.topics.commands import CreateTopics, NewTopic
from broker.topics.names import CONSUMER_OFFSETS, TRANSACTION_STATE, is_valid_topic_name
from broker.topics.opening import TopicLogs
from broker.topics.producer_ids import ProducerIds
from broker.topics.upkeep import Upkeep
from protocol.errors import ErrorCode
from protocol.primitives import format_uuid, parse_uuid
from wal.data_folder import DataFolder
from wal.errors import CorruptCheckpoint, DirectoryLocked, DiskFull, StorageFailed
from wal.flusher import Durable, Flusher
from wal.storage import FileStorage

if TYPE_CHECKING:
    from broker.compacting.supervisor import Compaction
    from broker.config import BrokerConfig
    from broker.connection import Connection
    from broker.coordinator.coordinator import GroupCoordinator
    from broker.coordinator.transaction_coordinator import TransactionCoordinator
    from broker.tiering.supervisor import Tables
    from broker.topics.partition import Partition

log = logging.getLogger("floe.broker")

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_STORAGE_FAILED: Final = 3

SWITCH_INTERVAL_S: Final = 0.0005
"""How soon, at worst, the flusher's thread gets the interpreter back after a sync: Python's 5 ms would be thirty times
the sync itself."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Requests leave no cycles behind, so Python's 700 allocations would look for garbage in vain all the time."""

UPKEEP_INTERVAL_S: Final = 5.0
"""How often it is looked whether background work is due; the work's own intervals are settings."""

WILDCARDS: Final = frozenset(("", "0.0.0.0", "::"))
"""Hosts to listen on, never to tell: their clients are told the address they reached us at."""

LOOPBACK_NAMES: Final = {"localhost": "127.0.0.1"}
"""Many machines resolve localhost to ::1 first, where nobody listens; so it is told by number."""

SESSION_EVICTION_MS: Final = 120_000
"""How long a fetch session must have been idle to give way (Kafka's min.incremental.fetch.session.eviction.ms)."""


class Broker:
    """What handlers reach: configuration, catalog, sessions, time, and the addresses clients are told."""

    def __init__(self, config: BrokerConfig, folder: DataFolder, flusher: Flusher, cluster_id: str) -> None:
        self.config = config
        self.flusher = flusher
        self.cluster_id = cluster_id
        self.node_id: int = config.node_id
        self.rack: str | None = config["broker.rack"]
        self.fetch_max_bytes: int = config["fetch.max.bytes"]
        self.logs = TopicLogs(folder, self.clock_ms)
        self.fetch_sessions = FetchSessions(
            config["max.incremental.fetch.session.cache.slots"],
            SESSION_EVICTION_MS,
            lambda: secrets.randbelow(2**31 - 1) + 1,
        )
        self.catalog: Catalog
        self.producer_ids: ProducerIds
        self.endpoints: dict[str, Endpoint] = {}
        self.on_storage_failure: Callable[[StorageFailed], None]
        self._loop = asyncio.get_running_loop()
        self._disk_was_full = False
        self.supervise: Callable[[str, Coroutine[Any, Any, None]], None]
        self.parts = Parts(self, folder)
        self.logs.on_progress = self._progressed

    @property
    def groups(self) -> GroupCoordinator:
        """The coordinator of all groups."""
        return self.parts.groups

    @property
    def transactions(self) -> TransactionCoordinator:
        """The coordinator of all transactions."""
        return self.parts.transactions

    @property
    def tables(self) -> Tables:
        """What has topics committed to their tables."""
        return self.parts.tables

    @property
    def compaction(self) -> Compaction:
        """What compacts topics."""
        return self.parts.compaction

    def _progressed(self, partition: Partition) -> None:
        if partition.topic.has_table:
            self.tables.progressed(partition)

    def clock_ms(self) -> int:
        """Wall-clock time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def new_id(self) -> bytes:
        """A random id of 16 bytes, for topics and the like."""
        return parse_uuid(new_uuid())

    async def create_topics(self, names: Iterable[str]) -> None:
        """Create topics with the defaults of the configuration; what cannot be created simply is not there then."""
        await self.catalog.submit(CreateTopics([NewTopic(name, self.new_id()) for name in names]))

    def call_later(self, delay_ms: int, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_ms / 1000, callback)

    def advertised(self, connection: Connection) -> tuple[str, int]:
        """(host, port) the client of a connection is told to reach this broker at."""
        endpoint = self.endpoints[connection.listener_name]
        if endpoint.host in WILDCARDS:
            return connection.local_host(), endpoint.port
        return endpoint.host, endpoint.port

    def topic_deleted(self, topic: Topic) -> None:
        """A topic is gone: so are its logs, and what groups had stored for it."""
        self.parts.topic_goes(topic)
        self.logs.delete(topic)
        self.parts.topic_gone(topic)

    def topic_reconfigured(self, topic: Topic) -> None:
        """A topic's configuration was replaced: it may have a table from now on, or none any more."""
        self.parts.topic_reconfigured(topic)

    def why_no_topic(self, name: str) -> ErrorCode:
        """The error for a name that no topic has."""
        if not is_valid_topic_name(name):
            return ErrorCode.INVALID_TOPIC_EXCEPTION
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def storage_failed(self, failure: StorageFailed) -> None:
        """A read or write failed: a full disk is told once and waited out, anything else ends the process."""
        if isinstance(failure, DiskFull):
            if not self._disk_was_full:
                self._disk_was_full = True
                log.error("the disk is full, writes are refused until there is space: %s", failure)
        else:
            self.on_storage_failure(failure)

    def write_succeeded(self) -> None:
        """Writing works (again)."""
        if self._disk_was_full:
            self._disk_was_full = False
            log.info("there is space on the disk again, writes are taken")


class Process:
    """One run of the broker, from start to exit status."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._stopping: asyncio.Future[int] = self._loop.create_future()
        self._storage = FileStorage(config.data_dir, config["floe.log.max.open.files"])
        self._flusher = Flusher(self._storage, self._round_complete, self._sync_failed)
        self._folder = DataFolder(self._storage, config.data_dir, self._flusher)
        self._server: Server
        self._broker: Broker
        self._tasks: list[asyncio.Task[None]] = []

    # --- start ------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        started_s = time.perf_counter()
        for warning in self._config.warnings:
            log.warning("%s", warning)
        self._loop.set_exception_handler(self._unforeseen)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop, EXIT_OK)
        sockets = self._bind()
        self._flusher.start()
        await self._open_catalog()
        self._recover()
        self._load_groups()
        self._load_transactions()
        self._listen(sockets)
        print(self._greeting(), flush=True)
        self._load_tables()
        log.info("ready after %.0f ms", (time.perf_counter() - started_s) * 1000)
        self._supervise("upkeep", self._upkeep())
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        status = await self._stopping
        return await self._end(status)

    def _bind(self) -> list[tuple[socket.socket, Endpoint]]:
        """Bind all listeners first: a port in use is found out before anything is written."""
        bound = []
        for endpoint in self._config.listeners:
            family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((endpoint.host, endpoint.port))
            except OSError as error:
                raise CannotStart(f"cannot listen on {endpoint}: {error.strerror}") from error
            bound.append((sock, endpoint._replace(port=sock.getsockname()[1])))
        return bound

    async def _open_catalog(self) -> None:
        config = self._config
        self._folder.remove_leftovers()  # before the catalog may take more folders out of service
        cluster_id = self._folder.identity(new_uuid, config.node_id, new_uuid)
        broker = self._broker = Broker(config, self._folder, self._flusher, cluster_id)
        broker.on_storage_failure = self._sync_failed
        broker.supervise = self._supervise
        broker.catalog = await Catalog.open(broker, self._folder)
        broker.producer_ids = ProducerIds(broker.catalog)

    def _recover(self) -> None:
        """Recover every log an unclean stop left behind, so that no client waits for it later."""
        if self._folder.was_clean:
            return
        started_s = time.perf_counter()
        count = 0
        gc.disable()  # what is made here stays
        with self._folder.recovering():
            for topic in self._broker.catalog.topics.values():
                for index in range(topic.partition_count):
                    partition = topic.partition(index)
                    if partition is not None and self._broker.logs.has_records(topic, index):
                        assert partition.log is not None
                        count += 1
        gc.enable()
        if count:
            log.info("recovered %d partitions in %.1f s", count, time.perf_counter() - started_s)

    def _load_groups(self) -> None:
        """Groups have timers and clients that wait for them: what there is, is loaded before anybody asks."""
        if CONSUMER_OFFSETS in self._broker.catalog.topics:
            gc.disable()  # a million offsets are no garbage, and would be looked through again and again
            assert self._broker.groups is not None
            gc.freeze()  # nor are they looked through once: that takes 0.2 s each time
            gc.enable()

    def _load_transactions(self) -> None:
        """Go on with what was under way. After a crash, a partition may hold records of a transaction that its record,
        written at the same time, is lost of (see `transaction_coordinator.py`)."""
        broker = self._broker
        if TRANSACTION_STATE not in broker.catalog.topics:
            return
        transactions = broker.transactions
        if self._folder.was_clean:
            return
        for key, opened in list(broker.logs.opened()):
            for entry in opened.producers:
                if opened.producers.has_open_transaction(entry.producer_id):
                    transactions.adopt(entry.producer_id, entry.producer_epoch, key.topic, key.partition)

    def _load_tables(self) -> None:
        """Go on with what is not in its table yet, or was not dropped yet."""
        from broker.tiering.tabled import CHECKPOINT

        has_tables = any(topic.has_table for topic in self._broker.catalog.topics.values())
        if has_tables or self._folder.storage.exists(f"{self._folder.root}/{CHECKPOINT}"):
            assert self._broker.tables is not None

    def _listen(self, sockets: Iterable[tuple[socket.socket, Endpoint]]) -> None:
        config = self._config
        limits = Limits(
            max_request_bytes=config["socket.request.max.bytes"],
            max_buffered_bytes=config["queued.max.request.bytes"],
            max_connections=config["max.connections"],
            max_connections_per_ip=config["max.connections.per.ip"],
            idle_ms=config["connections.max.idle.ms"],
            backlog=config["socket.listen.backlog.size"],
            send_buffer_bytes=config["socket.send.buffer.bytes"],
        )
        self._server = Server(self._broker, Router(), limits)
        endpoints = {endpoint.name: endpoint for _, endpoint in sockets}
        endpoints.update((endpoint.name, endpoint) for endpoint in config.advertised_listeners or ())
        self._broker.endpoints = {
            name: endpoint._replace(host=LOOPBACK_NAMES.get(endpoint.host, endpoint.host))
            for name, endpoint in endpoints.items()
        }
        for sock, endpoint in sockets:
            self._server.listen(sock, endpoint.name)
            if self._broker.endpoints[endpoint.name].host in WILDCARDS:
                log.warning(
                    "%s listens on every address and advertised.listeners is not set: each client is told the "
                    "address it connected to",
                    endpoint.name,
                )

    def _greeting(self) -> str:
        addresses = ", ".join(
            f"{endpoint.host or '*'}:{endpoint.port}" for endpoint in self._broker.endpoints.values()
        )
        return f"Floe is listening on {addresses}, data in {self._config.data_dir}"

    # --- run --------------------------------------------------------------------------------------------------

    def _round_complete(self, durables: list[Durable]) -> None:
        """On the flusher's thread: hand the round over. A loop that has ended no longer needs it."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._apply_round, durables)

    def _apply_round(self, durables: list[Durable]) -> None:
        for durable in durables:
            durable.apply()
        if hasattr(self, "_server"):
            if self._flusher.is_awaited:  # markers of all that is decided now
                self._server.kick_flusher()
            self._server.send_ready()

    async def _upkeep(self) -> None:
        upkeep = Upkeep(self._broker, self._folder, self._config)
        while True:
            await asyncio.sleep(UPKEEP_INTERVAL_S)
            for step in upkeep.due(self._broker.clock_ms()):
                step()
                self._flusher.kick()
                await asyncio.sleep(0)  # others' turn

    def _supervise(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(self._loop.create_task(self._supervised(name, work)))

    async def _supervised(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StorageFailed as failure:
            self._broker.storage_failed(failure)
        except Exception:
            log.exception("%s failed in a way nobody foresaw", name)
            self._stop(EXIT_FAILED)

    # --- end --------------------------------------------------------------------------------------------------

    def _stop(self, status: int) -> None:
        if not self._stopping.done():
            self._stopping.set_result(status)

    def _sync_failed(self, failure: StorageFailed) -> None:
        """From the flusher's thread or ours: the disk failed, nothing more may be acknowledged."""
        log.critical("stopping at once, the disk failed: %s", failure)
        logging.shutdown()
        os._exit(EXIT_STORAGE_FAILED)

    def _unforeseen(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised. The state of the process is not known any more, that of the log is."""
        log.critical("stopping at once: %s", context["message"], exc_info=context.get("exception"))
        logging.shutdown()
        os._exit(EXIT_FAILED)

    async def _end(self, status: int) -> int:
        log.info("stopping")
        deadline_s = self._loop.time() + self._config["floe.shutdown.timeout.ms"] / 1000
        parts = self._broker.parts
        parts.release_waiting()
        await self._server.drain(self._config["floe.shutdown.timeout.ms"] / 1000)
        await parts.end_workers(lambda: max(0.0, deadline_s - self._loop.time()))
        for task in self._tasks:
            task.cancel()
        parts.close()
        self._broker.catalog.close()
        self._folder.close()
        log.info("stopped after %d rounds of %d syncs", self._flusher.rounds, self._flusher.syncs)
        return status


class CannotStart(Exception):
    """Why, for the person at the terminal, and what to do."""


def new_uuid() -> str:
    """A random id in Kafka's form: 16 bytes as URL-safe base64, never starting with a dash, as Kafka's."""
    while True:
        text = format_uuid(secrets.token_bytes(16))
        if not text.startswith("-"):
            return text


def _raise_descriptor_limit() -> None:
    """Take all the descriptors we may have: the soft limit is often 1,024, for the sake of select(2)."""
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says infinity and takes less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    """A thread of ours raised what nobody foresaw. Without the flusher nothing would ever be acknowledged again."""
    error = args.exc_value or args.exc_type()
    log.critical("stopping at once: a thread failed", exc_info=(args.exc_type, error, args.exc_traceback))
    logging.shutdown()
    os._exit(EXIT_FAILED)


async def _run(config: BrokerConfig) -> int:
    return await Process(config).run()


def serve(config: BrokerConfig) -> int:
    """Run a broker until it is told to stop; the exit status."""
    configure_logging(config["floe.log.format"], config["floe.log.level"])
    threading.excepthook = _thread_failed
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _raise_descriptor_limit()
    try:
        os.makedirs(config.data_dir, exist_ok=True)
    except OSError as error:
        problem = f"cannot make the data folder {config.data_dir}: {error.strerror}"
        print(f"floe: {problem}; name another with --data-dir", file=sys.stderr)
        return EXIT_FAILED
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(_run(config))
    except DirectoryLocked as error:
        print(f"floe: {error}; stop it first, or name another folder with --data-dir", file=sys.stderr)
    except (CannotStart, CorruptCheckpoint, StorageFailed, OSError) as error:
        print(f"floe: {error}", file=sys.stderr)
    return EXIT_FAILED
