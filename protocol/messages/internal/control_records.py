"""Values of control records, and of the type that is the key of each (KIP-98, KIP-595, KIP-853)."""

from __future__ import annotations

from protocol.schema import array, int16, int32, int64, nested, persisted, string, struct, uint16, uuid


@persisted("data", versions="0")
class ControlRecordTypeSchema:
    type: int = int16()


@persisted("data", versions="0")
class EndTxnMarker:
    coordinator_epoch: int = int32()


@struct
class Voter:
    voter_id: int = int32()
    voter_directory_id: bytes = uuid("1+")  # KIP-853


@persisted("data", versions="0-1", flexible="0+")
class LeaderChangeMessage:
    version: int = int16()
    leader_id: int = int32()
    voters: list[Voter] = array(Voter)
    granting_voters: list[Voter] = array(Voter)


@persisted("data", versions="0", flexible="0+")
class SnapshotHeaderRecord:
    version: int = int16()
    last_contained_log_timestamp: int = int64()


@persisted("data", versions="0", flexible="0+")
class SnapshotFooterRecord:
    version: int = int16()


@persisted("data", versions="0", flexible="0+")
class KRaftVersionRecord:
    version: int = int16()
    kraft_version: int = int16()


@struct
class Endpoint:
    name: str = string()
    host: str = string()
    port: int = uint16()


@struct
class KRaftVersionFeature:
    min_supported_version: int = int16()
    max_supported_version: int = int16()


@struct
class VotersVoter:
    voter_id: int = int32()
    voter_directory_id: bytes = uuid()
    endpoints: list[Endpoint] = array(Endpoint)
    kraft_version_feature: KRaftVersionFeature = nested(KRaftVersionFeature)


@persisted("data", versions="0", flexible="0+")
class VotersRecord:
    version: int = int16()
    voters: list[VotersVoter] = array(VotersVoter)
