"""The compiler itself: caching, what encoding refuses, tracebacks, the command line."""

from __future__ import annotations

import linecache
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from protocol.compiler import decoder, encode, encoder, message_class
from protocol.errors import Unencodable
from protocol.messages.describe_topic_partitions import DescribeTopicPartitionsRequest
from protocol.messages.fetch import FetchRequest, FetchResponse, FetchTopic, ReplicaState
from protocol.messages.heartbeat import HeartbeatRequest
from protocol.messages.init_producer_id import InitProducerIdRequest
from protocol.messages.join_group import JoinGroupRequest
from protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from protocol.messages.produce import (
    LeaderIdAndEpoch,
    PartitionProduceResponse,
    ProduceResponse,
    TopicProduceResponse,
)
from protocol.messages.sasl_authenticate import SaslAuthenticateRequest
from tests.protocol.samples import api_classes, case_name, every_version, persisted_classes

ROOT = Path(__file__).parents[2]


def test_functions_are_made_once() -> None:
    assert decoder(FetchRequest, 13) is decoder(FetchRequest, 13)
    assert encoder(FetchRequest, 13) is encoder(FetchRequest, 13)
    assert decoder(FetchRequest, 13) is not decoder(FetchRequest, 12)


@pytest.mark.parametrize("version", [-1, 19, 1000])
def test_versions_that_never_were(version: int) -> None:
    with pytest.raises(ValueError, match="FetchRequest has no version"):
        decoder(FetchRequest, version)
    with pytest.raises(ValueError, match="FetchRequest has no version"):
        encoder(FetchRequest, version)


def test_apis_that_never_were() -> None:
    with pytest.raises(ValueError, match="not a valid ApiKey"):
        message_class(4, response=False)


@pytest.mark.parametrize(
    ("cls", "version"), every_version(api_classes() + persisted_classes()), ids=case_name
)
def test_defaults_survive_in_every_version(cls: type, version: int) -> None:
    wire = bytes(encode(cls(), version))
    assert decoder(cls, version)(memoryview(wire), 0) == (cls(), len(wire))


def test_a_value_the_version_has_no_field_for_is_refused() -> None:
    with pytest.raises(Unencodable, match=r"JoinGroupRequest v4: group_instance_id: .* no such field"):
        encode(JoinGroupRequest(group_instance_id="static"), 4)
    with pytest.raises(Unencodable, match=r"FetchRequest v6: forgotten_topics_data: "):
        encode(FetchRequest(forgotten_topics_data=[FetchRequest()]), 6)  # type: ignore[list-item]
    with pytest.raises(Unencodable, match=r"replica_state"):
        encode(FetchRequest(replica_state=ReplicaState(replica_id=1)), 14)


def test_an_ignorable_field_is_left_out() -> None:
    """Kafka marks what a peer may miss without harm: the rack, a leader epoch, the text of an error."""
    assert encode(FetchRequest(rack_id="r1"), 10) == encode(FetchRequest(), 10)


def test_nested_values_the_version_has_no_field_for() -> None:
    partition = PartitionProduceResponse(current_leader=LeaderIdAndEpoch(leader_id=1))
    response = ProduceResponse(responses=[TopicProduceResponse(name="t", partition_responses=[partition])])
    assert encode(response, 10)
    with pytest.raises(Unencodable, match=r"responses\.partition_responses\.current_leader"):
        encode(response, 9)


@pytest.mark.parametrize(
    ("message", "version", "field"),
    [
        (HeartbeatRequest(generation_id=1 << 31), 0, "generation_id"),
        (HeartbeatRequest(group_id=None), 0, "group_id"),  # type: ignore[arg-type]
        (HeartbeatRequest(group_id=None), 4, "group_id"),  # type: ignore[arg-type]
        (HeartbeatRequest(group_id="x" * 40000), 0, "group_id"),
        (HeartbeatRequest(group_id="\ud800"), 4, "group_id"),
        (MetadataRequest(topics=None), 0, "topics"),
        (MetadataRequest(topics=[MetadataRequestTopic(name=None)]), 9, "topics.name"),
        (SaslAuthenticateRequest(auth_bytes=None), 2, "auth_bytes"),  # type: ignore[arg-type]
        (InitProducerIdRequest(producer_id="7"), 5, "producer_id"),  # type: ignore[arg-type]
        (FetchRequest(topics=[FetchTopic(partitions=[1])]), 13, "topics.partitions"),  # type: ignore[list-item]
    ],
)
def test_values_of_the_wrong_kind_are_named(message: object, version: int, field: str) -> None:
    with pytest.raises(Unencodable) as caught:
        encode(message, version)
    assert str(caught.value).startswith(f"{type(message).__name__} v{version}: ")
    assert field in str(caught.value)


def test_nullable_structs() -> None:
    assert encode(DescribeTopicPartitionsRequest(), 0).hex() == "01" + "000007d0" + "ff" + "00"


def test_generated_source_is_in_tracebacks() -> None:
    with pytest.raises(Unencodable) as caught:
        encode(HeartbeatRequest(generation_id=1 << 31), 4)
    text = "".join(traceback.format_exception(caught.value))
    assert "<encode HeartbeatRequest v4>" in text
    assert "m.generation_id" in text
    assert linecache.getline("<encode HeartbeatRequest v4>", 1) == "def encode(m, out):\n"


def test_command_line_prints_both_sides() -> None:
    command = [sys.executable, "-m", "protocol.compiler", "Fetch", "13"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "# FetchRequest version 13" in done.stdout
    assert "# FetchResponse version 13" in done.stdout
    assert done.stdout.count("def decode(buffer, pos):") == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["Nonsense", "1"], "no API is called Nonsense"), ([], "usage:"), (["Fetch", "99"], "no version 99")],
)
def test_command_line_says_what_is_wrong(arguments: list[str], says: str) -> None:
    command = [sys.executable, "-m", "protocol.compiler", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode != 0
    assert says in done.stderr


def test_a_message_is_one_flat_function() -> None:
    """No call for a nested struct or an element: that is what makes the hot path cheap."""
    source = "".join(linecache.getlines("<decode FetchResponse v17>")) or _source(FetchResponse, 17)
    assert source.count("def ") == 1


def _source(cls: type, version: int) -> str:
    decoder(cls, version)
    return "".join(linecache.getlines(f"<decode {cls.__name__} v{version}>"))
