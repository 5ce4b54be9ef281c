"""`python -m tests.bench.groups`: what groups cost. Figures only.

Joins per second, offset commits, 10,000 idle members, and the start with 100,000 groups of 10 offsets that were
committed ten times over.

    --only joins,commits,idle,start     what to measure
    --floe-only                         not beside Apache Kafka, even if Java is there

Joins, commits and idle members are in `make bench`, too. Members are nothing but their requests. Apache Kafka runs
with its defaults: it does not sync before it answers.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from broker.cli import admin
from protocol.api import ApiKey
from protocol.framing import parse_response, request_frame
from protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest, TopicPartitions
from protocol.messages.heartbeat import HeartbeatRequest
from protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.bench.brokers import BrokerProcess, Floe, Kafka, find_kafka_jars
from tests.bench.sessions import Session, run, split

Figures = dict[str, float]
Told = dict[tuple[str, str], tuple[int, list[TopicPartitions] | None]]
"""(group, member) -> its epoch, and its assignment if that is news to it."""
Lone = dict[str, HeartbeatRequest]
"""Group -> what its only member says when it says that it is there."""

TOPIC = "groups"
PARTITIONS = 10
CONNECTIONS = 8
IN_FLIGHT = 5
MANY_GROUPS = 4_000
ONE_GROUP_MEMBERS = 400
COMMIT_SECONDS = 5.0
WARM_UP_SECONDS = 1.5
IDLE_MEMBERS = 10_000
IDLE_GROUPS = 100  # of consumer members; classic ones are one in a group
IDLE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
STORED_GROUPS = 100_000
STORED_ROUNDS = 10
SESSION_TIMEOUT_MS = 60_000
_TICKS = os.sysconf("SC_CLK_TCK")
_CLIENT_ID = "bench"
# The newest version of each that names topics and takes a member without an id at once is not the same for all.
_JOIN_VERSION, _SYNC_VERSION, _HEARTBEAT_VERSION, _LEAVE_VERSION, _COMMIT_VERSION = 9, 5, 4, 5, 9
_LEAVE_EPOCH = -1
_JOIN_VERSION_WITHOUT_ID = 3
_MEMBER_ID_REQUIRED, _REBALANCE_IN_PROGRESS = 79, 27
_SUBSCRIPTION = b"\0\0" + b"\0\0\0\1" + len(TOPIC).to_bytes(2, "big") + TOPIC.encode() + b"\xff\xff\xff\xff"


def ask(api_key: ApiKey, version: int, message: Any) -> Any:
    """`response = yield from ask(…)`: one request of a session."""
    response = yield request_frame(api_key, version, 1, _CLIENT_ID, message)
    return parse_response(api_key, version, memoryview(response))[1]


def _join_request(group_id: str, member_id: str) -> JoinGroupRequest:
    return JoinGroupRequest(
        group_id=group_id,
        session_timeout_ms=SESSION_TIMEOUT_MS,
        rebalance_timeout_ms=SESSION_TIMEOUT_MS,
        member_id=member_id,
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=_SUBSCRIPTION)],
    )


def _sync(group_id: str, joined: Any, member_ids: list[str]) -> SyncGroupRequest:
    return SyncGroupRequest(
        group_id=group_id,
        generation_id=joined.generation_id,
        member_id=joined.member_id,
        protocol_type="consumer",
        protocol_name="range",
        assignments=[
            SyncGroupRequestAssignment(member_id=each, assignment=_SUBSCRIPTION) for each in member_ids
        ],
    )


def lone_member(group_id: str, members: Lone) -> Session:
    """A classic member alone in its group: one JoinGroup, one SyncGroup. Its heartbeat goes into `members`."""
    joined = yield from ask(ApiKey.JOIN_GROUP, _JOIN_VERSION_WITHOUT_ID, _join_request(group_id, ""))
    assert joined.error_code == 0, joined
    synced = yield from ask(ApiKey.SYNC_GROUP, _SYNC_VERSION, _sync(group_id, joined, [joined.member_id]))
    assert synced.error_code == 0, synced
    members[group_id] = HeartbeatRequest(
        group_id=group_id, generation_id=joined.generation_id, member_id=joined.member_id
    )


def crowd_member(group_id: str, size: int, settled: set[str]) -> Session:
    """One classic member of many in a group, as a client does it, until the group has had a generation of all."""
    member_id, is_in = "", False
    while len(settled) < size:
        if not is_in:
            joined = yield from ask(ApiKey.JOIN_GROUP, _JOIN_VERSION, _join_request(group_id, member_id))
            member_id = joined.member_id
            if joined.error_code == _MEMBER_ID_REQUIRED:
                continue
            assert joined.error_code in (0, _REBALANCE_IN_PROGRESS), joined
            leads = joined.leader == member_id
            request = _sync(group_id, joined, [m.member_id for m in joined.members] if leads else [])
            synced = yield from ask(ApiKey.SYNC_GROUP, _SYNC_VERSION, request)
            is_in = synced.error_code == 0
            if leads and is_in and len(joined.members) == size:
                settled.update(m.member_id for m in joined.members)
            continue
        heartbeat = HeartbeatRequest(
            group_id=group_id, generation_id=joined.generation_id, member_id=member_id
        )
        is_in = (yield from ask(ApiKey.HEARTBEAT, _HEARTBEAT_VERSION, heartbeat)).error_code == 0


def consumer_member(group_id: str, member_id: str, told: Told) -> Session:
    """A member of the new protocol joins, or says that it is there; `told` has what it was told."""
    epoch, news = told.get((group_id, member_id), (0, None))
    request = ConsumerGroupHeartbeatRequest(group_id=group_id, member_id=member_id, member_epoch=epoch)
    if epoch == 0:
        request.rebalance_timeout_ms = SESSION_TIMEOUT_MS
        request.subscribed_topic_names = [TOPIC]
        request.topic_partitions = []
    elif news is not None:  # it has taken what it was given, and let go of the rest
        request.topic_partitions = news
    answer = yield from ask(ApiKey.CONSUMER_GROUP_HEARTBEAT, 1, request)
    assert answer.error_code == 0, answer
    given = None
    if answer.assignment is not None:
        given = [
            TopicPartitions(topic_id=topic.topic_id, partitions=topic.partitions)
            for topic in answer.assignment.topic_partitions
        ]
    told[group_id, member_id] = answer.member_epoch, given


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def leaving(group_id: str, member_ids: Iterable[str]) -> Session:
    """Classic members leave, in one request."""
    members = [MemberIdentity(member_id=each) for each in member_ids]
    request = LeaveGroupRequest(group_id=group_id, members=members)
    answer = yield from ask(ApiKey.LEAVE_GROUP, _LEAVE_VERSION, request)
    assert answer.error_code == 0, answer


def consumer_leaving(group_id: str, member_id: str) -> Session:
    """A member of the new protocol leaves."""
    request = ConsumerGroupHeartbeatRequest(group_id=group_id, member_id=member_id, member_epoch=_LEAVE_EPOCH)
    answer = yield from ask(ApiKey.CONSUMER_GROUP_HEARTBEAT, 1, request)
    assert answer.error_code == 0, answer


def _all_leave(broker: BrokerProcess, lone: Lone, told: Told) -> None:
    """What comes next is measured without their time-outs."""
    sessions = [leaving(group_id, [member.member_id]) for group_id, member in lone.items()]
    sessions += [consumer_leaving(*name) for name in told]
    run(broker.address, IN_FLIGHT, split(sessions, CONNECTIONS))


def measure_joins(broker: BrokerProcess, prefix: str = "") -> Figures:
    """Members a second, by protocol, alone in their groups and all in one. No `prefix` is used twice."""
    where, figures = broker.address, {}
    lone: Lone = {}
    told: Told = {}
    run(where, IN_FLIGHT, split((lone_member(f"{prefix}w-{n}", lone) for n in range(500)), CONNECTIONS))
    alone = split((lone_member(f"{prefix}a-{n}", lone) for n in range(MANY_GROUPS)), CONNECTIONS)
    figures["classic_many_groups_per_s"] = MANY_GROUPS / _timed(lambda: run(where, IN_FLIGHT, alone))
    settled: set[str] = set()
    # A join that waits for others holds its connection up: each member has its own.
    crowd = [[crowd_member(f"{prefix}crowd", ONE_GROUP_MEMBERS, settled)] for _ in range(ONE_GROUP_MEMBERS)]
    figures["classic_one_group_per_s"] = ONE_GROUP_MEMBERS / _timed(lambda: run(where, 1, crowd))
    many = split((consumer_member(f"{prefix}c-{n}", "m", told) for n in range(MANY_GROUPS)), CONNECTIONS)
    figures["consumer_many_groups_per_s"] = MANY_GROUPS / _timed(lambda: run(where, IN_FLIGHT, many))
    one = split(
        (consumer_member(f"{prefix}all", f"m-{n}", told) for n in range(ONE_GROUP_MEMBERS)), CONNECTIONS
    )
    figures["consumer_one_group_per_s"] = ONE_GROUP_MEMBERS / _timed(lambda: run(where, IN_FLIGHT, one))
    run(where, 1, [[leaving(f"{prefix}crowd", settled)]])
    _all_leave(broker, lone, told)
    return figures


def _commit_frame(group_id: str, partitions: int, offset: int) -> bytes:
    topic = OffsetCommitRequestTopic(
        name=TOPIC,
        partitions=[
            OffsetCommitRequestPartition(
                partition_index=index, committed_offset=offset, committed_metadata=""
            )
            for index in range(partitions)
        ],
    )
    request = OffsetCommitRequest(group_id=group_id, topics=[topic])
    return request_frame(ApiKey.OFFSET_COMMIT, _COMMIT_VERSION, 1, _CLIENT_ID, request)


def _check_commit(response: bytes) -> None:
    message = parse_response(ApiKey.OFFSET_COMMIT, _COMMIT_VERSION, memoryview(response))[1]
    for partition in message.topics[0].partitions:
        assert partition.error_code == 0, message


def committing(group_id: str, until: float) -> Session:
    """Commits one offset of its group again and again. The first response is decoded; the others must equal it."""
    frame = _commit_frame(group_id, 1, 5)
    first = yield frame
    _check_commit(first)
    while time.perf_counter() < until:
        response = yield frame
        assert response == first


def measure_commits(broker: BrokerProcess, prefix: str = "", duration_s: float = COMMIT_SECONDS) -> Figures:
    """Requests a second with one offset each, how long they took, and the broker's processor time for each."""
    figures: Figures = {}
    for connections in (1, CONNECTIONS):
        for seconds in (WARM_UP_SECONDS, duration_s):
            until, before = time.perf_counter() + seconds, time.process_time()
            broker_before = _processor_seconds(broker)
            sessions = [committing(f"{prefix}commit-{n}", until) for n in range(connections * IN_FLIGHT)]
            latencies = sorted(run(broker.address, IN_FLIGHT, split(sessions, connections)))
        name = f"commits_{connections}x{IN_FLIGHT}"
        figures[f"{name}_per_s"] = len(latencies) / duration_s
        figures[f"{name}_p50_ms"] = 1000 * latencies[len(latencies) // 2]
        figures[f"{name}_p99_ms"] = 1000 * latencies[int(len(latencies) * 0.99)]
        figures[f"{name}_broker_us"] = 1e6 * (_processor_seconds(broker) - broker_before) / len(latencies)
        figures[f"{name}_client_percent_of_a_core"] = 100 * (time.process_time() - before) / duration_s
    return figures


def _processor_seconds(broker: BrokerProcess) -> float:
    assert broker.process is not None
    fields = Path(f"/proc/{broker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _once(frame: bytes, api_key: ApiKey, version: int) -> Session:
    response = yield frame
    assert parse_response(api_key, version, memoryview(response))[1].error_code == 0


def _beat(broker: BrokerProcess, rounds: list[list[Session]], pause_s: float) -> float:
    """Run the sessions of each round, a round every `pause_s`; how many % of a core the broker took meanwhile."""
    before, started = _processor_seconds(broker), time.perf_counter()
    for number, sessions in enumerate(rounds):
        run(broker.address, len(sessions) // CONNECTIONS + 1, split(sessions, CONNECTIONS))
        time.sleep(max(0.0, started + (number + 1) * pause_s - time.perf_counter()))
    return 100 * (_processor_seconds(broker) - before) / (time.perf_counter() - started)


def measure_idle(broker: BrokerProcess, prefix: str = "") -> Figures:
    """Memory and processor time of 10,000 members who do nothing but say that they are there."""
    figures: Figures = {}
    beats = int(IDLE_SECONDS / 0.1)
    at_once = int(IDLE_MEMBERS * 0.1 / HEARTBEAT_SECONDS)
    before = broker.resident_mebibytes()
    lone: Lone = {}
    run(
        broker.address,
        IN_FLIGHT,
        split((lone_member(f"{prefix}i-{n}", lone) for n in range(IDLE_MEMBERS)), CONNECTIONS),
    )
    figures["classic_mebibytes"] = broker.resident_mebibytes() - before
    circle = [
        request_frame(ApiKey.HEARTBEAT, _HEARTBEAT_VERSION, 1, _CLIENT_ID, member) for member in lone.values()
    ]
    rounds = [
        [
            _once(circle[(beat * at_once + n) % IDLE_MEMBERS], ApiKey.HEARTBEAT, _HEARTBEAT_VERSION)
            for n in range(at_once)
        ]
        for beat in range(beats)
    ]
    figures["classic_percent_of_a_core"] = _beat(broker, rounds, 0.1)
    _all_leave(broker, lone, {})
    before = broker.resident_mebibytes()
    told: Told = {}
    names = [(f"{prefix}k-{n % IDLE_GROUPS}", f"m-{n}") for n in range(IDLE_MEMBERS)]
    for _ in range(4):  # until everybody has heard of the last who came
        run(
            broker.address,
            IN_FLIGHT,
            split((consumer_member(*name, told) for name in names), CONNECTIONS),
        )
    figures["consumer_mebibytes"] = broker.resident_mebibytes() - before
    turns = [
        [consumer_member(*names[(beat * at_once + n) % IDLE_MEMBERS], told) for n in range(at_once)]
        for beat in range(beats)
    ]
    figures["consumer_percent_of_a_core"] = _beat(broker, turns, 0.1)
    _all_leave(broker, {}, told)
    return figures


def _storing(groups: range, rounds: int) -> Iterator[Session]:
    def session(frame: bytes) -> Session:
        _check_commit((yield frame))

    for offset in range(rounds):
        for number in groups:
            yield session(_commit_frame(f"stored-{number}", PARTITIONS, offset))


def measure_start(broker: BrokerProcess) -> Figures:
    """How long a broker with many groups takes to begin, after a clean stop and after SIGKILL, and to find a group."""
    shares = [range(first, STORED_GROUPS, CONNECTIONS) for first in range(CONNECTIONS)]
    sessions = [_storing(share, STORED_ROUNDS) for share in shares]
    figures = {"commit_all_s": _timed(lambda: run(broker.address, 20, sessions))}
    figures["clean_stop_s"] = _timed(broker.stop)
    figures["clean_start_s"] = _start_with_groups(broker)
    figures["mebibytes"] = broker.resident_mebibytes()
    assert broker.process is not None
    broker.process.kill()
    broker.process.wait()
    figures["start_after_kill_s"] = _start_with_groups(broker)
    return figures


def _start_with_groups(broker: BrokerProcess) -> float:
    """Seconds from the start of the process until the last offset of a group can be read."""
    from broker.cli.groups_requests import committed_offsets

    started = time.perf_counter()
    broker.start()
    with broker.client() as client:
        found = committed_offsets(client, f"stored-{STORED_GROUPS - 1}")
    seconds = time.perf_counter() - started
    assert set(found.values()) == {STORED_ROUNDS - 1} and len(found) == PARTITIONS, found
    return seconds


MEASUREMENTS: dict[str, Callable[[BrokerProcess], Figures]] = {
    "joins": measure_joins,
    "commits": measure_commits,
    "idle": measure_idle,
    "start": measure_start,
}


def measure(broker: BrokerProcess, names: list[str]) -> dict[str, Figures]:
    """Run the named measurements, one after the other, on a broker that was just started."""
    broker.start()
    try:
        prepare(broker)
        return {
            name: {key: round(value, 2) for key, value in MEASUREMENTS[name](broker).items()}
            for name in names
        }
    finally:
        broker.stop()


def prepare(broker: BrokerProcess) -> None:
    """Create the topic the members read; and wait until every partition of `__consumer_offsets` is led."""
    from broker.cli.groups_requests import commit_offsets

    with broker.client() as client:
        admin.create_topic(client, TOPIC, partitions=PARTITIONS, replication_factor=1)
        client.topic(TOPIC, allow_auto_topic_creation=True, refresh=True)
        for number in range(500):  # as good as certain to meet every one of 50 partitions
            commit_offsets(client, f"first-{number}", {(TOPIC, 0): 1})


@click.command()
@click.option("--only", default=",".join(MEASUREMENTS), help="Names with commas.")
@click.option("--floe-only", is_flag=True)
def main(only: str, floe_only: bool) -> None:
    """Print the figures as JSON."""
    names = only.split(",")
    jars = "not asked for" if floe_only else find_kafka_jars()
    with tempfile.TemporaryDirectory(prefix="floe-groups-") as folder:
        figures: dict[str, Any] = {"floe": measure(Floe(Path(folder) / "floe"), names)}
        if isinstance(jars, Path):
            figures["kafka"] = measure(Kafka(Path(folder) / "kafka", jars), names)
        else:
            print(f"without Apache Kafka: {jars}", file=sys.stderr)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
