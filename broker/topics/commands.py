"""What the catalog can be asked to change, and what it answers.

Commands are values without randomness or time of their own: topic ids are drawn by whoever submits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from protocol.errors import ErrorCode

SET: Final = 0
DELETE: Final = 1
APPEND: Final = 2
SUBTRACT: Final = 3
"""AlterConfigOp.OpType (KIP-339)."""


class Result(NamedTuple):
    """The answer for one topic or resource, in the order of the command's. `value` is for success only."""

    error: ErrorCode = ErrorCode.NONE
    message: str | None = None
    value: Any = None

    @property
    def is_success(self) -> bool:
        return self.error is ErrorCode.NONE


class Outcome(NamedTuple):
    """What a command comes to: records to be made durable and applied, and the answer to give then."""

    records: list[Any]
    results: list[Result]


class NewTopic(NamedTuple):
    """A topic to create; -1 asks for the broker's default. `assignments` are (partition, brokers)."""

    name: str
    topic_id: bytes
    num_partitions: int = -1
    replication_factor: int = -1
    assignments: Sequence[tuple[int, Sequence[int]]] = ()
    settings: Sequence[tuple[str, str | None]] = ()


class CreatedTopic(NamedTuple):
    """Result value of CreateTopics."""

    topic_id: bytes
    num_partitions: int
    settings: dict[str, str]


class CreateTopics(NamedTuple):
    topics: Sequence[NewTopic]
    validate_only: bool = False


class DeleteTopics(NamedTuple):
    """By (name, ZERO_UUID) or (None, id); the result's value is (name, id) of what is gone."""

    topics: Sequence[tuple[str | None, bytes]]


class MorePartitions(NamedTuple):
    """`total_count` is present ones included; `assignments` the brokers of each added partition, or None."""

    name: str
    total_count: int
    assignments: Sequence[Sequence[int]] | None = None


class CreatePartitions(NamedTuple):
    topics: Sequence[MorePartitions]
    validate_only: bool = False


class Alteration(NamedTuple):
    """Operations (setting, operation, value) on one resource."""

    resource_type: int
    resource_name: str
    operations: Sequence[tuple[str, int, str | None]]


class AlterSettings(NamedTuple):
    """IncrementalAlterConfigs: what is not named stays."""

    resources: Sequence[Alteration]
    validate_only: bool = False


class ReplaceSettings(NamedTuple):
    """AlterConfigs: what is not named goes. The operations are all SET."""

    resources: Sequence[Alteration]
    validate_only: bool = False


class AllocateProducerIds(NamedTuple):
    """The result's value is a range of ids nobody had before."""

    block_size: int


class SetFeatures(NamedTuple):
    """Finalised feature levels; those already so make no record."""

    levels: Sequence[tuple[str, int]]


class RegisterBroker(NamedTuple):
    """This process, for tools that read the log. `endpoints` are (listener, host, port)."""

    incarnation_id: bytes
    endpoints: Sequence[tuple[str, str, int]]
    rack: str | None = None


Command = (
    CreateTopics
    | DeleteTopics
    | CreatePartitions
    | AlterSettings
    | ReplaceSettings
    | AllocateProducerIds
    | SetFeatures
    | RegisterBroker
)
