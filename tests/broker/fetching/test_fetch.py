"""Fetches against a whole broker: what sessions leave out, what parks and what lets it go (KIP-74, KIP-227)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from protocol.messages.delete_topics import DeleteTopicsRequest
from protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic, ForgottenTopic
from tests.broker.in_process import InProcessBroker, Peer, in_process, run
from tests.faults.wire import batch, produce_request

VERSION = 11
BATCH_BYTES = len(batch())


def request(
    *wanted: tuple[str, int] | tuple[str, int, int],
    session: tuple[int, int] = (0, -1),
    forget: tuple[str, ...] = (),
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 50 << 20,
    partition_max_bytes: int = 1 << 20,
) -> FetchRequest:
    """`wanted` are (topic, offset) or (topic, offset, partition)."""
    topics = [
        FetchTopic(
            topic=one[0],
            partitions=[
                FetchPartition(
                    partition=one[2] if len(one) == 3 else 0,
                    fetch_offset=one[1],
                    partition_max_bytes=partition_max_bytes,
                )
            ],
        )
        for one in wanted
    ]
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        session_id=session[0],
        session_epoch=session[1],
        topics=topics,
        forgotten_topics_data=[ForgottenTopic(topic=name, partitions=[0]) for name in forget],
    )


class Bench:
    """A broker, one connection that fetches and one that does everything else."""

    def __init__(self, broker: InProcessBroker) -> None:
        self.broker = broker
        self.fetcher = broker.connect()
        self.admin = broker.connect()

    async def create(self, *names: str, partitions: int = 1) -> None:
        topics = [
            CreatableTopic(name=name, num_partitions=partitions, replication_factor=1) for name in names
        ]
        answer = await self.admin.ask(
            ApiKey.CREATE_TOPICS, 5, CreateTopicsRequest(topics=topics, timeout_ms=1000)
        )
        assert all(topic.error_code == 0 for topic in answer.topics)

    async def delete(self, name: str) -> None:
        answer = await self.admin.ask(
            ApiKey.DELETE_TOPICS, 4, DeleteTopicsRequest(topic_names=[name], timeout_ms=1000)
        )
        assert answer.responses[0].error_code == 0

    async def produce(self, topic: str, partition: int = 0, **kwargs: Any) -> int:
        message = produce_request(batch(**kwargs), topic=topic, partition=partition)
        answer = await self.admin.ask(ApiKey.PRODUCE, 9, message)
        result = answer.responses[0].partition_responses[0]
        assert result.error_code == 0
        return int(result.base_offset)

    async def fetch(self, message: FetchRequest) -> Any:
        return await self.fetcher.ask(ApiKey.FETCH, VERSION, message)

    def park(self, message: FetchRequest, peer: Peer | None = None) -> None:
        (peer or self.fetcher).request(ApiKey.FETCH, VERSION, message)

    async def parked(self, peer: Peer | None = None) -> None:
        """Assert that the fetch waits."""
        peer = peer or self.fetcher
        for _ in range(20):
            await asyncio.sleep(0)
        assert not peer.frames()

    async def answer(self) -> Any:
        return await self.fetcher.response(ApiKey.FETCH, VERSION)

    def waiters(self, topic: str) -> int:
        partition = self.broker.broker.catalog.topics[topic].partition(0)
        assert partition is not None
        return len(partition.progress_waiters)


def bench(tmp_path: Path, work: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with in_process(tmp_path / "data") as broker:
            await work(Bench(broker))

    run(whole())


def told(answer: Any) -> dict[str, Any]:
    """topic -> partition's data, for fetches of one partition a topic."""
    assert answer.error_code == 0
    return {topic.topic: topic.partitions[0] for topic in answer.responses}


# --- sessions --------------------------------------------------------------------------------------------------------


def test_an_incremental_answer_leaves_out_what_did_not_change(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a", "b")
        full = await b.fetch(request(("a", 0), ("b", 0), session=(0, 0)))
        assert set(told(full)) == {"a", "b"} and full.session_id > 0
        session = full.session_id
        assert told(await b.fetch(request(session=(session, 1)))) == {}
        await b.produce("b")
        answer = told(await b.fetch(request(session=(session, 2))))
        assert set(answer) == {"b"} and answer["b"].high_watermark == 1 and len(answer["b"].records)
        again = told(await b.fetch(request(session=(session, 3))))
        assert set(again) == {"b"}, "its records are still there: it did not ask for later ones"
        assert told(await b.fetch(request(("b", 1), session=(session, 4)))) == {}

    bench(tmp_path, work)


def test_forgotten_topics_are_not_told(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a", "b")
        session = (await b.fetch(request(("a", 0), ("b", 0), session=(0, 0)))).session_id
        await b.produce("a")
        await b.produce("b")
        answer = await b.fetch(request(session=(session, 1), forget=("a",)))
        assert set(told(answer)) == {"b"}
        answer = await b.fetch(request(("a", 0), session=(session, 2), forget=("b",)))
        assert set(told(answer)) == {"a"}

    bench(tmp_path, work)


def test_errors_are_told_each_time_and_so_is_their_end(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a")
        session = (await b.fetch(request(("a", 0), ("later", 0), session=(0, 0)))).session_id
        for epoch in (1, 2):
            answer = told(await b.fetch(request(session=(session, epoch))))
            assert set(answer) == {"later"}
            assert answer["later"].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        await b.create("later")
        answer = told(await b.fetch(request(session=(session, 3))))
        assert set(answer) == {"later"} and answer["later"].error_code == 0
        assert told(await b.fetch(request(session=(session, 4)))) == {}

    bench(tmp_path, work)


def test_session_errors(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a")
        session = (await b.fetch(request(("a", 0), session=(0, 0)))).session_id
        code = (await b.fetch(request(session=(session + 1, 1)))).error_code
        assert code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
        assert (
            await b.fetch(request(session=(session, 5)))
        ).error_code == ErrorCode.INVALID_FETCH_SESSION_EPOCH
        by_id = await b.fetcher.ask(ApiKey.FETCH, 13, request(session=(session, 1)))
        assert by_id.error_code == ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
        assert (await b.fetch(request(session=(session, 1)))).error_code == 0

    bench(tmp_path, work)


def test_the_final_epoch_closes_and_epoch_0_begins_anew(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a")
        first = (await b.fetch(request(("a", 0), session=(0, 0)))).session_id
        second = (await b.fetch(request(("a", 0), session=(first, 0)))).session_id
        assert second not in (0, first) and len(b.broker.broker.fetch_sessions) == 1
        last = await b.fetch(request(("a", 0), session=(second, -1)))
        assert last.session_id == 0 and set(told(last)) == {"a"}
        assert len(b.broker.broker.fetch_sessions) == 0

    bench(tmp_path, work)


def test_a_byte_limit_starves_no_partition_of_a_session(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        names = [f"t{number}" for number in range(4)]
        await b.create(*names)
        for name in names:
            for _ in range(10):
                await b.produce(name)
        wanted = [(name, 0) for name in names]
        answer = await b.fetch(request(*wanted, session=(0, 0), max_bytes=BATCH_BYTES))
        session, served = answer.session_id, []
        for epoch in range(1, 9):
            answer = await b.fetch(request(session=(session, epoch), max_bytes=BATCH_BYTES))
            served += [topic for topic, data in told(answer).items() if len(data.records)]
        assert served == [*names, *names]

    bench(tmp_path, work)


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_the_first_batch_comes_however_large(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a", "b")
        await b.produce("a", size=5000)
        await b.produce("b", size=5000)
        answer = told(await b.fetch(request(("a", 0), ("b", 0), max_bytes=10, partition_max_bytes=10)))
        assert len(answer["a"].records) > 5000 and len(answer["b"].records) == 0
        answer = told(await b.fetch(request(("b", 0), ("a", 0), max_bytes=0, partition_max_bytes=0)))
        assert len(answer["b"].records) > 5000 and len(answer["a"].records) == 0

    bench(tmp_path, work)


def test_an_offset_within_a_batch_brings_the_whole_batch(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a")
        await b.produce("a", count=10)
        data = told(await b.fetch(request(("a", 7))))["a"]
        assert int.from_bytes(bytes(data.records[:8]), "big") == 0
        assert told(await b.fetch(request(("a", 10))))["a"].error_code == 0
        out = told(await b.fetch(request(("a", 11))))["a"]
        assert out.error_code == ErrorCode.OFFSET_OUT_OF_RANGE

    bench(tmp_path, work)


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_fetch_waits_for_the_sum_over_its_partitions(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a", "b")
        b.park(request(("a", 0), ("b", 0), max_wait_ms=600_000, min_bytes=3 * BATCH_BYTES))
        for name in ("a", "b"):
            await b.produce(name)
            await b.parked()
        await b.produce("a")
        answer = told(await b.answer())
        assert len(answer["a"].records) == 2 * BATCH_BYTES and len(answer["b"].records) == BATCH_BYTES
        assert b.waiters("a") == b.waiters("b") == 0

    bench(tmp_path, work)


def test_a_fetch_that_waits_in_vain_is_answered_empty(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a")
        answer = told(await b.fetch(request(("a", 0), max_wait_ms=5)))
        assert answer["a"].error_code == 0 and len(answer["a"].records) == 0
        assert b.waiters("a") == 0

    bench(tmp_path, work)


def test_an_error_is_told_at_once(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a")
        for wanted in (("absent", 0), ("a", 99), ("a", 0, 5)):
            answer = await b.fetch(request(("a", 0), wanted, max_wait_ms=600_000))
            assert any(p.error_code for topic in answer.responses for p in topic.partitions)
        assert b.waiters("a") == 0

    bench(tmp_path, work)


def test_no_partitions_is_no_wait(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        assert told(await b.fetch(request(max_wait_ms=600_000))) == {}

    bench(tmp_path, work)


def test_deletion_lets_waiting_fetches_go(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a", "b")
        b.park(request(("a", 0), ("b", 0), max_wait_ms=600_000))
        await b.parked()
        await b.delete("a")
        answer = told(await b.answer())
        assert answer["a"].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert answer["b"].error_code == 0 and b.waiters("b") == 0

    bench(tmp_path, work)


def test_everyone_who_waits_for_a_partition_is_answered(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a")
        peers = [b.broker.connect() for _ in range(20)]
        for peer in peers:
            b.park(request(("a", 0), max_wait_ms=600_000), peer)
            await b.parked(peer)
        assert b.waiters("a") == 20
        peers[4].close()
        await b.parked()
        assert b.waiters("a") == 19, "who is gone waits no more"
        await b.produce("a")
        for number, peer in enumerate(peers):
            if number != 4:
                answer = told(await peer.response(ApiKey.FETCH, VERSION))
                assert len(answer["a"].records) == BATCH_BYTES
        assert b.waiters("a") == 0

    bench(tmp_path, work)


def test_nothing_is_seen_before_it_is_durable(tmp_path: Path) -> None:
    async def work(b: Bench) -> None:
        await b.create("a")
        partition = b.broker.broker.catalog.topics["a"].partition(0)
        assert partition is not None
        partition.append(memoryview(batch()), 9, b.broker.broker.clock_ms())
        assert partition.log.log_end_offset == 1 and partition.log.high_watermark == 0
        answer = told(await b.fetch(request(("a", 0))))
        if partition.log.high_watermark == 0:
            assert answer["a"].high_watermark == 0 and len(answer["a"].records) == 0
        await b.produce("a")
        assert told(await b.fetch(request(("a", 0))))["a"].high_watermark == 2

    bench(tmp_path, work)
