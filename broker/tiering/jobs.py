"""Jobs for the worker process: how one is put, had done, and its result kept; `README.md` has their form.

A worker that dies of one topic's jobs is that topic's matter: it waits, and its jobs get smaller. One that dies of
whatever it is given is started less and less often.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from broker.tiering.settings import CatalogSettings, TableSettings
from broker.worker.process import JobFailed, WorkerDied, WorkerProcess

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.tiering.tabled import Tabled, TabledTopic
    from broker.topics.catalog import Topic

log = logging.getLogger("floe.tables")

JOB_LIMIT_S: Final = 1_800.0
"""How long a job may take, which reports no progress: far more than any does. A catalog that never answers is noticed
by it."""

DEATHS_OF_ONE_TOPIC: Final = 3
"""So many deaths of the worker in a row are no topic's fault (a package is missing, memory is short): all wait."""

MAX_PAUSE_S: Final = 60.0
"""How long all wait at most, after a pause of a second that doubles with every death."""

LEAST_COMMIT_BYTES: Final = 1 << 20
"""What a job is cut down to, halving, when the worker dies of it."""

WORKER_ENVIRONMENT: Final = {
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "2",
    "MIMALLOC_PURGE_DELAY": "1000",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
"""Memory for each thread's own arena would be most of what an idle worker holds. What a chunk of log took, the next one
takes again: given back in between (Arrow's allocator does so after 10 ms), its pages cost a tenth of a commit's time to
get anew. The process ends when it is idle."""


class Jobs:
    """Of all topics. Belongs to the loop."""

    def __init__(self, broker: Broker, catalog: CatalogSettings, tabled: Tabled) -> None:
        self._broker = broker
        self._catalog = catalog
        self._tabled = tabled
        self.worker = WorkerProcess("tiering", environment=WORKER_ENVIRONMENT, silence_limit_s=JOB_LIMIT_S)
        self._deaths = 0
        """Of the worker, in a row."""

    def job(
        self, topic: Topic, kind: str, partitions: list[dict[str, Any]], failures: int = 0
    ) -> dict[str, Any]:
        """`failures` of the same commit, one after the other, make it smaller."""
        settings = TableSettings.of(topic.config.values)
        tabled = self._tabled.topics.get(topic.topic_id)
        return {
            "kind": kind,
            "topic": topic.name,
            "topic_id": base64.urlsafe_b64encode(topic.topic_id).decode().rstrip("="),
            "cluster_id": self._broker.cluster_id,
            "writer_epoch": self._broker.catalog.state.broker_epoch,
            "settings": settings.to_json(),
            "catalog": self._catalog.to_json(),
            "max_bytes": max(LEAST_COMMIT_BYTES, settings.commit_bytes >> min(failures, 16)),
            "partitions": partitions,
            "orphans_ms": tabled.orphans_ms if tabled is not None else None,
        }

    async def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job's result. Raises JobFailed, WorkerDied, WorkerClosed."""
        try:
            result = await self.worker.run(job)
        except JobFailed:
            self._deaths = 0
            raise
        except WorkerDied:
            self._deaths += 1
            raise
        self._deaths = 0
        return result

    async def run_late(self, job: dict[str, Any]) -> dict[str, Any]:
        """As `run`, for a job that was put long ago, maybe before this start: catalog and epoch are those of now."""
        epoch = self._broker.catalog.state.broker_epoch
        return await self.run(job | {"catalog": self._catalog.to_json(), "writer_epoch": epoch})

    async def pause(self, closing: asyncio.Event) -> None:
        """Have a worker that dies of whatever it is given start less and less often."""
        doublings = self._deaths - DEATHS_OF_ONE_TOPIC
        if doublings >= 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(MAX_PAUSE_S, 2.0 ** min(doublings, 16))):
                    await closing.wait()

    def keep(self, topic: Topic, result: dict[str, Any]) -> TabledTopic:
        """Remember what a result says of the topic's table."""
        now_ms = self._broker.clock_ms()
        tabled = self._tabled.of(topic.topic_id, topic.name)
        tabled.offsets = {int(index): offset for index, offset in result["marks"].items()}
        tabled.table = result["table"]
        tabled.metadata_location = result["metadata_location"]
        tabled.dead_letters_metadata_location = result["dead_letters_metadata_location"]
        tabled.snapshot_id = result["snapshot_id"]
        if tabled.orphans_ms is None or result.get("orphans_ms") is not None:
            tabled.orphans_ms = result.get("orphans_ms") or now_ms
        if "records" in result:
            tabled.records += result["records"]
            tabled.dead_letters += result["dead_letters"]
            tabled.committed_ms = now_ms
            log.debug(
                "table %s: %d records, read in %d ms, committed in %d ms",
                tabled.table,
                result["records"],
                result["read_ms"],
                result["commit_ms"],
            )
        self._tabled.is_saved = False
        return tabled
