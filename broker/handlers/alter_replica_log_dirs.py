"""AlterReplicaLogDirs (key 34), versions 0 to 2: move replicas to another log directory (KIP-113).

v2  flexible

There is one log directory, so every partition is where it may be: LOG_DIR_NOT_FOUND for any other path, and nothing to
do for this one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from protocol.errors import ErrorCode
from protocol.messages.alter_replica_log_dirs import (
    AlterReplicaLogDirPartitionResult,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
    AlterReplicaLogDirTopicResult,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> AlterReplicaLogDirsResponse:
    message: AlterReplicaLogDirsRequest = request.message
    folder = os.path.abspath(broker.config.data_dir)
    results: dict[str, AlterReplicaLogDirTopicResult] = {}
    for target in message.dirs:
        for topic in target.topics:
            result = results.setdefault(topic.name, AlterReplicaLogDirTopicResult(topic_name=topic.name))
            result.partitions += [
                AlterReplicaLogDirPartitionResult(
                    partition_index=index,
                    error_code=_move(broker, topic.name, index)
                    if target.path == folder
                    else ErrorCode.LOG_DIR_NOT_FOUND,
                )
                for index in topic.partitions
            ]
    return AlterReplicaLogDirsResponse(results=list(results.values()))


def _move(broker: Broker, name: str, index: int) -> ErrorCode:
    topic = broker.catalog.topics.get(name)
    is_here = topic is not None and 0 <= index < topic.partition_count
    return ErrorCode.NONE if is_here else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
