"""`floe groups` against a real Floe process, with members that are nothing but requests of ours."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli import admin
from broker.cli import groups_requests as requests
from broker.cli.client import Client
from broker.cli.errors import CommandFailed
from broker.cli.groups_reset import Move, from_csv, parse_topics, to_csv
from broker.cli.options import bootstrap_servers
from broker.cli.producer import Options, Producer
from broker.cli.root import floe
from protocol.api import ApiKey
from protocol.compiler import encoder
from protocol.errors import ErrorCode
from protocol.framing import Output
from protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from protocol.messages.internal.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolAssignmentTopicPartition,
)
from protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from protocol.records import Record
from tests.floe_process import FloeProcess

START_MS = 1_700_000_000_000
RECORDS = 10  # in every partition, a second apart


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    settings = {"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "5"}
    started = FloeProcess(tmp_path_factory.mktemp("groups") / "data", settings).start()
    yield started
    started.end()


@pytest.fixture
def client(process: FloeProcess) -> Iterator[Client]:
    with Client(bootstrap_servers(process.bootstrap)) as client:
        yield client


@pytest.fixture
def cli(process: FloeProcess) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(floe, ["groups", *arguments, "-b", process.bootstrap])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def make_topic(client: Client, name: str, partitions: int = 2) -> None:
    admin.create_topic(client, name, partitions=partitions)
    producer = Producer(client, name, Options())
    producer.open()
    for partition in range(partitions):
        for second in range(RECORDS):
            producer.add(partition, Record(0, START_MS + 1000 * second, None, b"x", []))
    producer.flush()


def assignment_bytes(**topics: list[int]) -> bytes:
    message = ConsumerProtocolAssignment(
        assigned_partitions=[
            ConsumerProtocolAssignmentTopicPartition(topic=topic, partitions=indexes)
            for topic, indexes in topics.items()
        ]
    )
    out = Output(b"\x00\x00")
    encoder(ConsumerProtocolAssignment, 0)(message, out)
    return bytes(out)


def join_classic(client: Client, group: str, assignment: bytes) -> str:
    """A group of one member that has assigned itself what it likes; its member id."""
    request = JoinGroupRequest(
        group_id=group,
        session_timeout_ms=30_000,
        rebalance_timeout_ms=30_000,
        protocol_type="consumer",
        protocols=[
            JoinGroupRequestProtocol(name="range", metadata=b"\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff")
        ],
    )
    joined = client.request(ApiKey.JOIN_GROUP, request)
    assert joined.error_code == ErrorCode.MEMBER_ID_REQUIRED
    request.member_id = joined.member_id
    joined = client.request(ApiKey.JOIN_GROUP, request)
    assert joined.error_code == 0
    sync = SyncGroupRequest(
        group_id=group,
        generation_id=joined.generation_id,
        member_id=joined.member_id,
        protocol_type="consumer",
        protocol_name="range",
        assignments=[SyncGroupRequestAssignment(member_id=joined.member_id, assignment=assignment)],
    )
    assert client.request(ApiKey.SYNC_GROUP, sync).error_code == 0
    return str(joined.member_id)


def leave_classic(client: Client, group: str, member_id: str) -> None:
    leave = LeaveGroupRequest(group_id=group, members=[MemberIdentity(member_id=member_id)])
    assert client.request(ApiKey.LEAVE_GROUP, leave).error_code == 0


def heartbeat(
    client: Client, group: str, member_id: str, epoch: int, **fields: object
) -> ConsumerGroupHeartbeatResponse:
    request = ConsumerGroupHeartbeatRequest(group_id=group, member_id=member_id, member_epoch=epoch)
    for name, value in fields.items():
        setattr(request, name, value)
    response: ConsumerGroupHeartbeatResponse = client.request(ApiKey.CONSUMER_GROUP_HEARTBEAT, request)
    assert response.error_code == 0, response
    return response


def parsed(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def test_a_group_that_only_has_offsets(client: Client, cli: Callable[..., Result]) -> None:
    make_topic(client, "only")
    requests.commit_offsets(client, "g-only", {("only", 0): 4, ("only", 1): 10})
    (group,) = parsed(cli("describe", "g-only", "-o", "json"))
    assert (group["state"], group["type"], group["members"]) == ("Empty", "Classic", [])
    result = cli("describe", "g-only")
    assert "has no active members" in result.stderr
    header, *rows = [line.split() for line in result.stdout.splitlines()]
    assert header[:6] == ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"]
    assert rows == [
        ["g-only", "only", "0", "4", "10", "6", "-", "-", "-"],
        ["g-only", "only", "1", "10", "10", "0", "-", "-", "-"],
    ]
    listed = parsed(cli("list", "--state", "empty", "-o", "json"))
    assert {"group": "g-only", "type": "Classic", "protocol": None, "state": "Empty"} in listed
    assert "g-only" not in cli("list", "--state", "Stable").stdout
    assert "g-only" not in cli("list", "--type", "consumer").stdout


def test_a_classic_group_and_who_owns_what(client: Client, cli: Callable[..., Result]) -> None:
    make_topic(client, "classic")
    requests.commit_offsets(client, "g-classic", {("classic", 0): 3, ("classic", 1): 1})
    member_id = join_classic(client, "g-classic", assignment_bytes(classic=[1]))
    (group,) = parsed(cli("describe", "g-classic", "-o", "json"))
    assert (group["state"], group["type"], group["assignor"]) == ("Stable", "Classic", "range")
    rows = [line.split() for line in cli("describe", "g-classic").stdout.splitlines()[1:]]
    assert [row[1:7] for row in rows] == [
        ["classic", "1", "1", "10", "9", member_id],  # what is owned comes first
        ["classic", "0", "3", "10", "7", "-"],
    ]
    assert rows[0][8] == "floe-cli"
    members = cli("describe", "g-classic", "--members").stdout
    assert member_id in members and "classic:1" in members
    assert "Stable" in cli("describe", "g-classic", "--state").stdout
    assert "NON_EMPTY_GROUP" in cli("delete", "g-classic").output
    refused = cli("reset-offsets", "g-classic", "--all-topics", "--to-earliest", "--execute")
    assert refused.exit_code == 1
    assert "is active (Stable, 1 members)" in refused.output
    assert requests.committed_offsets(client, "g-classic")["classic", 0] == 3
    leave_classic(client, "g-classic", member_id)
    assert cli("delete", "g-classic").stdout == "Deleted group g-classic.\n"
    assert cli("delete", "g-classic").exit_code == 1
    assert "no group" in cli("delete", "g-classic", "--if-exists").stdout


def test_a_group_of_the_consumer_protocol(client: Client, cli: Callable[..., Result]) -> None:
    make_topic(client, "modern")
    joined = heartbeat(
        client,
        "g-modern",
        "member-1",
        0,
        subscribed_topic_names=["modern"],
        topic_partitions=[],
        rebalance_timeout_ms=30_000,
    )
    assert joined.assignment is not None
    owned = [
        TopicPartitions(topic_id=t.topic_id, partitions=t.partitions)
        for t in joined.assignment.topic_partitions
    ]
    heartbeat(client, "g-modern", "member-1", joined.member_epoch, topic_partitions=owned)
    (group,) = parsed(cli("describe", "g-modern", "-o", "json"))
    assert (group["type"], group["assignor"]) == ("Consumer", "uniform")
    rows = [line.split() for line in cli("describe", "g-modern").stdout.splitlines()[1:]]
    assert [row[1:7] for row in rows] == [["modern", str(p), "-", "10", "-", "member-1"] for p in (0, 1)]
    assert "modern:0,1" in cli("describe", "g-modern", "--members").stdout
    assert "uniform" in cli("describe", "g-modern", "--state").stdout
    assert "g-modern" in cli("list", "--type", "consumer").stdout
    assert cli("reset-offsets", "g-modern", "--topic", "modern", "--to-latest").exit_code == 1
    heartbeat(client, "g-modern", "member-1", -1)
    assert (
        cli("reset-offsets", "g-modern", "--topic", "modern", "--to-offset", "7", "--execute").exit_code == 0
    )
    assert requests.committed_offsets(client, "g-modern") == {("modern", 0): 7, ("modern", 1): 7}
    (group,) = parsed(cli("describe", "g-modern", "-o", "json"))
    assert (group["type"], group["state"]) == ("Consumer", "Empty")
    assert cli("delete", "g-modern").exit_code == 0


def test_a_group_that_does_not_exist(cli: Callable[..., Result]) -> None:
    result = cli("describe", "nobody")
    assert result.exit_code == 1
    assert "Group nobody does not exist." in result.output
    assert "floe groups list" in result.output


def test_a_partition_that_does_not_exist_has_no_end(client: Client, cli: Callable[..., Result]) -> None:
    make_topic(client, "there", 1)
    join_classic(client, "g-gone", assignment_bytes(there=[0, 5], gone=[0]))
    (group,) = parsed(cli("describe", "g-gone", "-o", "json"))
    partitions = group["partitions"]
    assert isinstance(partitions, list)
    assert [(p["topic"], p["partition"], p["log_end_offset"]) for p in partitions] == [
        ("gone", 0, None),
        ("there", 0, 10),
        ("there", 5, None),
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--to-earliest"], [0, 0]),
        (["--to-latest"], [10, 10]),
        (["--to-offset", "6"], [6, 6]),
        (["--to-offset", "99"], [10, 10]),
        (["--to-datetime", "2023-11-14T22:13:24"], [4, 4]),  # START_MS + 4 s
        (["--to-datetime", "2023-11-14T23:13:23.5+01:00"], [4, 4]),
        (["--to-datetime", "2033-01-01"], [10, 10]),
        (["--shift-by", "2"], [5, 7]),
        (["--shift-by", "-4"], [0, 1]),
    ],
)
def test_where_offsets_are_put(
    client: Client, cli: Callable[..., Result], arguments: list[str], expected: list[int]
) -> None:
    if "reset" not in {topic.name for topic in client.refresh_metadata(None).topics}:
        make_topic(client, "reset")
    before = {("reset", 0): 3, ("reset", 1): 5}
    requests.commit_offsets(client, "g-reset", before)
    plan = parsed(cli("reset-offsets", "g-reset", "--all-topics", *arguments, "-o", "json"))
    assert [(move["current_offset"], move["new_offset"]) for move in plan] == list(
        zip([3, 5], expected, strict=True)
    )
    assert requests.committed_offsets(client, "g-reset") == before  # a dry run
    done = cli("reset-offsets", "g-reset", "--topic", "reset:1", *arguments, "--execute")
    assert done.exit_code == 0, done.output
    assert requests.committed_offsets(client, "g-reset") == {("reset", 0): 3, ("reset", 1): expected[1]}


def test_a_plan_goes_through_a_file(client: Client, cli: Callable[..., Result], tmp_path: Path) -> None:
    make_topic(client, "planned")
    requests.commit_offsets(client, "g-planned", {("planned", 0): 3, ("planned", 1): 5})
    exported = cli("reset-offsets", "g-planned", "--all-topics", "--shift-by", "1", "-o", "csv")
    assert exported.stdout == "planned,0,4\nplanned,1,6\n"
    path = tmp_path / "plan.csv"
    path.write_text(exported.stdout)
    done = cli("reset-offsets", "g-planned", "--from-file", str(path), "--execute")
    assert done.exit_code == 0, done.output
    assert requests.committed_offsets(client, "g-planned") == {("planned", 0): 4, ("planned", 1): 6}


def test_a_new_group_can_be_given_offsets(client: Client, cli: Callable[..., Result]) -> None:
    make_topic(client, "ahead")
    assert cli("reset-offsets", "g-ahead", "--topic", "ahead:1", "--to-latest", "--execute").exit_code == 0
    assert requests.committed_offsets(client, "g-ahead") == {("ahead", 1): 10}


def test_what_cannot_be_reset(client: Client, cli: Callable[..., Result], tmp_path: Path) -> None:
    make_topic(client, "odd", 1)
    path = tmp_path / "plan.csv"
    path.write_text("odd,0,1\n")
    assert cli("reset-offsets", "g-odd", "--topic", "odd").exit_code == 2
    assert cli("reset-offsets", "g-odd", "--to-latest").exit_code == 2
    assert cli("reset-offsets", "g-odd", "--topic", "odd", "--to-latest", "--to-earliest").exit_code == 2
    assert cli("reset-offsets", "g-odd", "--topic", "odd", "--from-file", str(path)).exit_code == 2
    assert (
        cli("reset-offsets", "g-odd", "--topic", "odd", "--to-latest", "--dry-run", "--execute").exit_code
        == 2
    )
    assert cli("reset-offsets", "g-odd", "--topic", "odd", "--to-datetime=-2").exit_code == 2
    assert "has no offsets" in cli("reset-offsets", "g-odd", "--all-topics", "--to-latest").output
    assert "could be shifted" in cli("reset-offsets", "g-odd", "--topic", "odd", "--shift-by", "1").output
    assert "has no partition 7" in cli("reset-offsets", "g-odd", "--topic", "odd:7", "--to-latest").output
    assert "neither TOPIC nor" in cli("reset-offsets", "g-odd", "--topic", "odd:x", "--to-latest").output
    path.write_text("odd,9,1\n")
    assert "no partition odd-9" in cli("reset-offsets", "g-odd", "--from-file", str(path)).output
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in cli("reset-offsets", "g-odd", "--from-file", str(path)).output
    huge = cli("reset-offsets", "g-odd", "--topic", "odd", "--to-datetime", "9" * 20)
    assert (huge.exit_code, "more than a timestamp holds" in huge.output) == (2, True)


def test_one_name_that_is_missing_does_not_keep_the_others(
    client: Client, cli: Callable[..., Result]
) -> None:
    make_topic(client, "several", 1)
    for name in ("g-first", "g-last"):
        cli("reset-offsets", name, "--topic", "several", "--to-latest", "--execute")
    shown = cli("describe", "g-first", "g-none", "g-last")
    assert shown.exit_code == 1 and "Group g-none does not exist" in shown.output
    assert shown.stdout.count("several") == 2
    deleted = cli("delete", "g-first", "g-none", "g-last")
    assert deleted.exit_code == 1 and "Deleted group g-last" in deleted.stdout
    assert "g-none: GROUP_ID_NOT_FOUND" in deleted.output


def test_older_versions_say_the_same(client: Client, process: FloeProcess) -> None:
    make_topic(client, "old")
    requests.commit_offsets(client, "g-old", {("old", 0): 4})
    oldest = {
        ApiKey.FIND_COORDINATOR: 0,
        ApiKey.OFFSET_FETCH: 1,
        ApiKey.OFFSET_COMMIT: 2,
        ApiKey.DESCRIBE_GROUPS: 0,
        ApiKey.LIST_GROUPS: 0,
    }
    with Client(bootstrap_servers(process.bootstrap), max_versions=oldest) as old:
        assert requests.committed_offsets(old, "g-old") == {("old", 0): 4}
        requests.commit_offsets(old, "g-old", {("old", 1): 5})
        assert requests.committed_offsets(old, "g-old") == {("old", 0): 4, ("old", 1): 5}
        group = requests.describe_group(old, "g-old")
        assert group is not None and group.is_inactive
        assert requests.describe_group(old, "nobody") is None
        assert ("g-old", None) in {(g.group_id, g.state) for g in requests.list_groups(old)}
        with pytest.raises(CommandFailed, match="too old to select"):
            requests.list_groups(old, states=["Empty"])


def test_topics_and_plans_as_text() -> None:
    assert parse_topics(["a", "b:2,0"]) == {"a": None, "b": [0, 2]}
    assert parse_topics(["a:1", "a:0,1", "b", "b:1", "c:1", "c"]) == {"a": [0, 1], "b": None, "c": None}
    assert to_csv([Move("a", 0, None, 5, 5)]) == "a,0,5\n"
    assert from_csv(["g,a,0,5", "", '"h,",a,0,6'], "h,") == {("a", 0): 6}
    with pytest.raises(CommandFailed, match="Line 2 "):
        from_csv(["a,0,5", "a,0,x"], "g")
    with pytest.raises(CommandFailed, match="nothing for group g"):
        from_csv(["h,a,0,5"], "g")
    with pytest.raises(CommandFailed, match="a-0 twice"):
        from_csv(["a,0,5", "a,0,6"], "g")


def test_what_is_no_assignment_is_empty() -> None:
    assert requests.decode_assignment(b"") == {}
    assert requests.decode_assignment(b"\x00\x00\xff") == {}
    assert requests.decode_assignment(assignment_bytes(a=[2, 1])) == {"a": [1, 2]}
