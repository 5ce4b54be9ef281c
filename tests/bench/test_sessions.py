"""The members that the figures of groups are taken with get what they came for."""

from collections.abc import Iterator

import pytest

from broker.cli import admin
from broker.cli import groups_requests as requests
from broker.cli.client import Client
from broker.cli.options import bootstrap_servers
from tests.bench import groups
from tests.bench.sessions import run, split
from tests.floe_process import FloeProcess


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = {"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "2"}
    process = FloeProcess(tmp_path_factory.mktemp("sessions") / "data", settings).start()
    try:
        with Client(bootstrap_servers(process.bootstrap)) as client:
            admin.create_topic(client, groups.TOPIC, partitions=groups.PARTITIONS)
            yield client
    finally:
        process.end()


def member_count(client: Client, group_id: str) -> int:
    group = requests.describe_group(client, group_id)
    assert group is not None and group.state in ("Stable", "Reconciling", "Assigning")
    return len(group.members)


def test_members_alone_in_their_groups(client: Client) -> None:
    lone: groups.Lone = {}
    sessions = [groups.lone_member(f"alone-{number}", lone) for number in range(7)]
    latencies = run(client.bootstrap[0], 2, split(sessions, 3))
    assert len(latencies) == 2 * 7
    assert [member_count(client, group_id) for group_id in lone] == [1] * 7


def test_members_in_one_group(client: Client) -> None:
    settled: set[str] = set()
    run(client.bootstrap[0], 1, [[groups.crowd_member("crowd", 5, settled)] for _ in range(5)])
    assert member_count(client, "crowd") == len(settled) == 5


def test_members_of_the_consumer_protocol(client: Client) -> None:
    told: groups.Told = {}
    for _ in range(4):
        sessions = [groups.consumer_member("modern", f"m-{number}", told) for number in range(6)]
        run(client.bootstrap[0], 1, split(sessions, 2))
    assert member_count(client, "modern") == 6
    assert len({epoch for epoch, _ in told.values()}) == 1  # all have heard of the last


def test_commits(client: Client) -> None:
    latencies = run(client.bootstrap[0], 1, [[groups.committing("commits", until=0.0)]])
    assert len(latencies) == 1
    assert requests.committed_offsets(client, "commits") == {(groups.TOPIC, 0): 5}
