"""What administrators and their user interfaces ask of a cluster: quorum, ACLs, quotas, credentials, features."""

from __future__ import annotations

from side_by_side.scenario import scenario
from side_by_side.side import Side

ANY = 1
ACL_FILTER = {
    "resource_type_filter": ANY,
    "resource_name_filter": None,
    "pattern_type_filter": ANY,
    "principal_filter": None,
    "host_filter": None,
    "operation": ANY,
    "permission_type": ANY,
}


@scenario("describe_quorum", smoke=True)
def quorum(side: Side) -> None:
    side.ask(topics=[{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 0}]}])
    side.ask(topics=[{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 1}]}])
    side.ask(topics=[{"topic_name": "events", "partitions": [{"partition_index": 0}]}])
    side.ask(topics=[])


@scenario("describe_acls", smoke=True)
def acls(side: Side) -> None:
    side.ask(**ACL_FILTER)
    side.ask(
        **{
            **ACL_FILTER,
            "resource_type_filter": 2,
            "resource_name_filter": "events",
            "pattern_type_filter": 3,
        }
    )


@scenario("create_acls", smoke=True)
def new_acls(side: Side) -> None:
    row = {
        "resource_type": 2,
        "resource_name": "events",
        "resource_pattern_type": 3,
        "principal": "User:alice",
        "host": "*",
        "operation": 3,
        "permission_type": 3,
    }
    side.ask(creations=[row])
    side.ask(creations=[row, row])
    side.ask(creations=[])


@scenario("delete_acls", smoke=True)
def deleted_acls(side: Side) -> None:
    row = {name.removesuffix("_filter") if name == "x" else name: value for name, value in ACL_FILTER.items()}
    side.ask(filters=[row])
    side.ask(filters=[row, row])
    side.ask(filters=[])


@scenario("describe_client_quotas", smoke=True)
def quotas(side: Side) -> None:
    side.ask(components=[], strict=False)
    side.ask(components=[{"entity_type": "user", "match_type": 2, "match": None}], strict=False)
    side.ask(components=[{"entity_type": "client-id", "match_type": 0, "match": "nobody"}], strict=True)
    for rows in (
        [("planet", 0, "mars")],
        [("", 0, "mars")],
        [("user", 9, None)],
        [("user", 0, None)],
        [("user", 1, "alice")],
        [("user", 2, "alice")],
        [("user", 2, None), ("user", 2, None)],
        [("user", 2, None), ("ip", 2, None)],
    ):
        components = [{"entity_type": kind, "match_type": how, "match": match} for kind, how, match in rows]
        side.ask(components=components, strict=False)


@scenario("describe_user_scram_credentials", smoke=True)
def credentials(side: Side) -> None:
    side.ask(users=None)
    side.ask(users=[])
    side.ask(users=[{"name": "alice"}])
    side.ask(users=[{"name": "alice"}, {"name": "alice"}])
    side.ask(users=[{"name": ""}])


@scenario("unregister_broker", smoke=True)
def unknown_brokers(side: Side) -> None:
    side.ask(broker_id=99)
    side.ask(broker_id=-1)


@scenario("alter_replica_log_dirs", smoke=True)
def moves(side: Side) -> None:
    for path in ("/no/such/folder", "relative", ""):
        side.ask(
            dirs=[
                {
                    "path": path,
                    "topics": [{"name": "events", "partitions": [0]}, {"name": "absent", "partitions": [0]}],
                }
            ]
        )
    side.ask(dirs=[])
    own = side.quietly(35, 4, topics=[])["results"][0]["log_dir"]
    for topic, index in (("events", 0), ("events", 9), ("absent", 0)):
        side.ask(dirs=[{"path": own, "topics": [{"name": topic, "partitions": [index]}]}])


@scenario("create_delegation_token", smoke=True)
def token(side: Side) -> None:
    side.ask(renewers=[], max_lifetime=-1)


@scenario("renew_delegation_token", smoke=True)
def renewal(side: Side) -> None:
    side.ask(hmac=b"x", renew_period=-1)


@scenario("expire_delegation_token", smoke=True)
def expiry(side: Side) -> None:
    side.ask(hmac=b"x", expiry_time_period=-1)


@scenario("describe_delegation_token", smoke=True)
def tokens(side: Side) -> None:
    side.ask(owners=None)
    side.ask(owners=[])


@scenario("update_features", smoke=True)
def features(side: Side) -> None:
    side.ask(timeout=5000, feature_updates=[])
    for name, level, kind in (
        ("no.such.feature", 1, 1),
        ("group.version", 9, 1),
        ("metadata.version", 9999, 1),
        ("metadata.version", 0, 1),
    ):
        row = {"feature": name, "max_version_level": level, "upgrade_type": kind, "allow_downgrade": False}
        side.ask(timeout=5000, validate_only=True, feature_updates=[row])
