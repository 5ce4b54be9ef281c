"""What message classes are like to use, whatever their codecs do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from protocol.messages.fetch import FetchableTopicResponse, FetchRequest, FetchResponse, FetchTopic
from protocol.messages.heartbeat import HeartbeatRequest
from protocol.messages.metadata import MetadataRequest
from protocol.messages.offset_commit import OffsetCommitRequest
from protocol.schema import ZERO_UUID, Versions, schema_of


def test_defaults_are_kafkas() -> None:
    request = FetchRequest()
    assert (request.replica_id, request.max_bytes, request.session_epoch) == (-1, 0x7FFFFFFF, -1)
    assert request.topics == []
    assert request.cluster_id is None
    assert request.replica_state is None
    assert FetchTopic().topic_id == ZERO_UUID
    assert OffsetCommitRequest().generation_id_or_member_epoch == -1


def test_lists_are_not_shared() -> None:
    assert FetchRequest().topics is not FetchRequest().topics
    first, second = FetchableTopicResponse(), FetchableTopicResponse()
    first.partitions.append(FetchableTopicResponse())  # type: ignore[arg-type]
    assert second.partitions == []


def test_fields_by_keyword_only_and_no_others() -> None:
    with pytest.raises(TypeError):
        HeartbeatRequest("group")  # type: ignore[misc]
    with pytest.raises(TypeError):
        HeartbeatRequest(group="g")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        HeartbeatRequest().group = "g"  # type: ignore[attr-defined]


def test_equality_and_repr() -> None:
    assert HeartbeatRequest(group_id="g") == HeartbeatRequest(group_id="g")
    assert HeartbeatRequest(group_id="g") != HeartbeatRequest(group_id="h")
    assert FetchRequest() != FetchResponse()
    assert repr(MetadataRequest(topics=None)).startswith("MetadataRequest(topics=None, allow_auto_topic")
    with pytest.raises(TypeError):
        hash(HeartbeatRequest())


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("3+", [3, 100], [2, -1]),
        ("0-4", [0, 4], [5]),
        ("2", [2], [1, 3]),
        ("none", [], [0]),
        ("", [], [0]),
    ],
)
def test_versions(text: str, inside: list[int], outside: list[int]) -> None:
    versions = Versions.parse(text)
    assert all(version in versions for version in inside)
    assert not any(version in versions for version in outside)


def test_schema_says_what_a_message_is() -> None:
    schema = schema_of(HeartbeatRequest)
    assert (schema.name, schema.kind, schema.key) == ("HeartbeatRequest", "request", 12)
    assert schema.versions == Versions(0, 4)
    assert [field.name for field in schema.fields] == [
        "group_id",
        "generation_id",
        "member_id",
        "group_instance_id",
    ]


def test_importing_a_message_imports_no_other() -> None:
    """Start-up pays for what it uses: neither other messages nor the code generators, nor dataclasses."""
    script = (
        "import sys, protocol.framing, protocol.messages.fetch;"
        "print(sorted(m for m in sys.modules if m.startswith('protocol.') or m == 'dataclasses'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "protocol.messages.produce" not in done.stdout
    assert "_source" not in done.stdout
    assert "dataclasses" not in done.stdout
