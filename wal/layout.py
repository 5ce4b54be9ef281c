"""Names in a data folder, which are Apache Kafka's, and the two files that say whose folder it is.

<data folder>/
  meta.properties                    cluster id, node id, id of the folder
  recovery-point-offset-checkpoint   up to where each partition is known to be synced
  log-start-offset-checkpoint        where a partition starts, if DeleteRecords or retention moved it
  cleaner-offset-checkpoint          up to where each compacted partition has been compacted
  .kafka_cleanshutdown               there only between a clean stop and the next start
  .lock                              held while a broker runs
  <topic>-<partition>/
    partition.metadata               topic id
    leader-epoch-checkpoint
    <base offset, 20 digits>.log     record batches
    ….index .timeindex .txnindex     what finds them
    ….snapshot                       producer state at that offset
    ….deleted                        given up, to be unlinked
    ….cleaned                        being written by compaction; worthless after a crash
    ….swap                           compaction's result, replacing its originals; a start finishes it
  <topic>-<partition>.<hex>-delete/  a deleted partition, to be removed
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from wal.checkpoint import TopicPartition
from wal.errors import CorruptCheckpoint

LOG_SUFFIX: Final = ".log"
OFFSET_INDEX_SUFFIX: Final = ".index"
TIME_INDEX_SUFFIX: Final = ".timeindex"
TXN_INDEX_SUFFIX: Final = ".txnindex"
SNAPSHOT_SUFFIX: Final = ".snapshot"
DELETED_SUFFIX: Final = ".deleted"
DELETED_DIRECTORY_SUFFIX: Final = "-delete"
CLEANED_SUFFIX: Final = ".cleaned"
SWAP_SUFFIX: Final = ".swap"
# Left behind by a crash in the middle of a replacement, or of compaction's writing.
LEFTOVER_SUFFIXES: Final = (".tmp", CLEANED_SUFFIX)
SEGMENT_SUFFIXES: Final = (LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX)

META_PROPERTIES: Final = "meta.properties"
PARTITION_METADATA: Final = "partition.metadata"
LEADER_EPOCH_CHECKPOINT: Final = "leader-epoch-checkpoint"
RECOVERY_POINT_CHECKPOINT: Final = "recovery-point-offset-checkpoint"
LOG_START_CHECKPOINT: Final = "log-start-offset-checkpoint"
CLEANER_CHECKPOINT: Final = "cleaner-offset-checkpoint"
CLEAN_SHUTDOWN: Final = ".kafka_cleanshutdown"
LOCK: Final = ".lock"

BASE_OFFSET_DIGITS: Final = 20
TOPIC_ID_BYTES: Final = 16


def segment_path(directory: str, base_offset: int, suffix: str) -> str:
    assert base_offset >= 0
    return f"{directory}/{base_offset:020d}{suffix}"


def parse_base_offset(name: str, suffix: str) -> int | None:
    """The base offset in `00000000000000004711.log`; None for any other name."""
    digits = name[:BASE_OFFSET_DIGITS]
    if name[BASE_OFFSET_DIGITS:] != suffix or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits)


def partition_directory(root: str, topic: str, partition: int) -> str:
    assert "/" not in topic and partition >= 0
    return f"{root}/{topic}-{partition}"


def parse_partition_directory(name: str) -> TopicPartition | None:
    """Topic and partition of `orders-0`; None for anything else, deleted partitions among them."""
    topic, dash, digits = name.rpartition("-")
    if not (topic and dash and digits.isascii() and digits.isdigit()):
        return None
    return TopicPartition(topic, int(digits))


def deleted_directory(directory: str, topic_id: bytes) -> str:
    """The name a deleted partition's folder gets until it is removed."""
    assert len(topic_id) == TOPIC_ID_BYTES
    root, _, name = directory.rpartition("/")
    # Kafka cuts the name so that the whole of it fits the 255 bytes of a file name.
    suffix = f".{topic_id.hex()}{DELETED_DIRECTORY_SUFFIX}"
    return f"{root}/{name[: 255 - len(suffix)]}{suffix}"


def format_partition_metadata(topic_id: bytes) -> bytes:
    assert len(topic_id) == TOPIC_ID_BYTES
    text = base64.urlsafe_b64encode(topic_id).decode().rstrip("=")
    return f"version: 0\ntopic_id: {text}".encode()


def parse_partition_metadata(data: bytes) -> bytes:
    """The topic id. Raises CorruptCheckpoint."""
    fields = dict(_pairs(data, ":"))
    try:
        if fields["version"] != "0":
            raise CorruptCheckpoint(f"{PARTITION_METADATA}: version {fields['version']!r}, not 0")
        topic_id = base64.b64decode(fields["topic_id"] + "==", altchars=b"-_", validate=True)
    except (KeyError, binascii.Error) as error:
        raise CorruptCheckpoint(f"{PARTITION_METADATA}: {error}") from error
    if len(topic_id) != TOPIC_ID_BYTES:
        raise CorruptCheckpoint(f"{PARTITION_METADATA}: a topic id of {len(topic_id)} bytes")
    return topic_id


def format_properties(properties: Mapping[str, str]) -> bytes:
    """A Java properties file; keys and values are plain words here, so nothing needs escaping."""
    return "".join(f"{key}={value}\n" for key, value in properties.items()).encode()


def parse_properties(data: bytes) -> dict[str, str]:
    return dict(_pairs(data, "="))


def _pairs(data: bytes, separator: str) -> list[tuple[str, str]]:
    lines = data.decode("utf-8", "replace").splitlines()
    pairs = (line.partition(separator) for line in lines if line.strip() and not line.startswith("#"))
    return [(key.strip(), value.strip()) for key, _, value in pairs]
