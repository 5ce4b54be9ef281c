"""Hive's metastore as a catalog, for a writer that may die at any moment and whose columns grow.

pyiceberg's `HiveCatalog` commits under an exclusive lock that the metastore keeps in its database. Four things it
leaves open are closed here:

- A lock outlives the process that took it, and the connection. A metastore removes it after `hive.txn.timeout` where
  it does such housekeeping, which a Hive 2.3 does not by default: the table could never be committed to again. So a
  lock of ours says which process took it, and one whose process is gone is released by whoever waits for it.
- A lock that was released too early would let two commits overwrite one another. The metastore is told which
  metadata file the commit is built upon, and those that understand it (HIVE-26882: 2.3.10, 4.0) compare and set.
- A metastore refuses changes of types it takes for incompatible, as a struct that has one field more
  (`hive.metastore.disallow.incompatible.col.type.changes`, on by default), and, once it has one it cannot parse
  (`struct<a-b:int>`), every change. No reader of Iceberg looks at these columns, but its Java writers send them, too,
  and are refused where they are not those of before. So names are made such that it can parse them, and columns that
  may not change are taken away and given anew.
- `uri` may name several metastores, as for Hive's own clients: the next one is tried where one cannot be reached.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

from hive_metastore.ThriftHiveMetastore import Client
from hive_metastore.ttypes import (
    CheckLockRequest,
    EnvironmentContext,
    FieldSchema,
    InvalidOperationException,
    LockRequest,
    LockResponse,
    LockState,
    MetaException,
    ShowLocksRequest,
    ShowLocksResponseElement,
    UnlockRequest,
)
from hive_metastore.ttypes import Table as HiveTable
from pyiceberg.catalog import METADATA_LOCATION, URI, MetastoreCatalog
from pyiceberg.catalog.hive import (
    HIVE_KERBEROS_AUTH,
    HIVE_KERBEROS_AUTH_DEFAULT,
    HIVE_KERBEROS_SERVICE_NAME,
    HIVE_KERBEROS_SERVICE_NAME_DEFAULT,
    LOCK_CHECK_MAX_WAIT_TIME,
    LOCK_CHECK_RETRIES,
    PROP_PREVIOUS_METADATA_LOCATION,
    HiveCatalog,
    SchemaToHiveConverter,
    _HiveClient,
)
from pyiceberg.exceptions import CommitFailedException, WaitingForLockException
from pyiceberg.types import NestedField
from pyiceberg.utils.properties import property_as_bool
from thrift.Thrift import TException
from thrift.transport import TSocket, TTransport

log = logging.getLogger("floe.tables")
logging.getLogger("thrift").setLevel(logging.CRITICAL)  # says what it raises as well, bare, at each attempt

ANSWER_LIMIT_MS: Final = 60_000
"""A metastore that says nothing for this long is taken for gone, so that the other tables get their turn."""

LEFT_BEHIND_MS: Final = 300_000
"""Hive's own `hive.txn.timeout`: a lock of ours from another machine is dead after this, for nobody renews it."""

LOCK_CHECKS: Final = {LOCK_CHECK_MAX_WAIT_TIME: "0.25", LOCK_CHECK_RETRIES: "12"}
"""Three seconds in small steps; pyiceberg's own are four of up to a minute, while which no table is committed to."""

HOLDER: Final = "floe-worker"

_UNPARSABLE: Final = re.compile(r"\W")
"""In the name of a field of a struct."""

_refused: dict[tuple[str, str], tuple[list[FieldSchema], list[FieldSchema]]] = {}
"""By database and table: columns that the metastore refused, and those it took instead, so that it is asked once."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lock, as its lock says: `floe-worker <place> <pid> <start>`, at most 128 characters."""

    place: str
    """Where the process id means something: the running kernel, and the namespace in it."""
    pid: int
    started: str
    """When, in the kernel's ticks: process ids are used again. Empty where it cannot be known."""

    def __str__(self) -> str:
        return f"{HOLDER} {self.place} {self.pid} {self.started or '-'}"

    @classmethod
    def of(cls, pid: int) -> Holder:
        """A process that runs here."""
        return cls(_place(), pid, _started(pid))

    @classmethod
    def parse(cls, text: str | None) -> Holder | None:
        """None for a lock that is not ours."""
        words = (text or "").split(" ")
        if len(words) != 4 or words[0] != HOLDER or not words[2].isdecimal():
            return None
        return cls(words[1], int(words[2]), words[3].removeprefix("-"))

    def is_gone(self, here: Holder, age_ms: int) -> bool:
        """Whether its lock is of no use to anybody, seen from `here` by one who waits for it.

        A process does one commit at a time, so that what it holds itself while it asks is from an earlier one.
        """
        if self.place != here.place:
            return age_ms > LEFT_BEHIND_MS
        if self == here:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's process: its start tells
        return _started(self.pid) != self.started


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return "_".join(socket.gethostname().split()) or "_"


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


class _Metastore(Client):  # type: ignore[misc]
    """One connection. Methods and their arguments are named as in Hive's interface."""

    def lock(self, rqst: LockRequest) -> LockResponse:
        here = Holder.of(os.getpid())
        rqst.agentInfo = str(here)
        answer = super().lock(rqst)
        if answer.state != LockState.WAITING:
            return answer
        component = rqst.component[0]
        if self._release_dead(component.dbname, component.tablename, answer.lockid, here):
            return self.check_lock(CheckLockRequest(lockid=answer.lockid))
        return answer

    def _release_dead(self, dbname: str, tablename: str, lockid: int, here: Holder) -> bool:
        """Whether something was in the way that is gone now."""
        locks = self.locks(dbname, tablename)
        now_ms = max((one.lastheartbeat or 0 for one in locks if one.lockid == lockid), default=0)
        dead = [
            one
            for one in locks
            if one.lockid != lockid
            and (holder := Holder.parse(one.agentInfo)) is not None
            and holder.is_gone(here, now_ms - (one.lastheartbeat or now_ms))
        ]
        for one in dead:
            log.info("%s.%s: lock %d of a worker that is gone is released", dbname, tablename, one.lockid)
            self.unlock(UnlockRequest(lockid=one.lockid))
        return bool(dead)

    def locks(self, dbname: str, tablename: str) -> list[ShowLocksResponseElement]:
        """Held and wanted ones of a table, from the oldest on."""
        answer = self.show_locks(ShowLocksRequest(dbname=dbname, tablename=tablename))
        wanted = (dbname.lower(), tablename.lower())
        found = [one for one in answer.locks or () if (one.dbname, one.tablename) == wanted]
        return sorted(found, key=lambda one: one.lockid)

    def alter_table_with_environment_context(
        self, dbname: str, tbl_name: str, new_tbl: HiveTable, environment_context: EnvironmentContext
    ) -> None:
        context = EnvironmentContext(properties=dict(environment_context.properties))
        before = (new_tbl.parameters or {}).get(PROP_PREVIOUS_METADATA_LOCATION)
        is_commit = new_tbl.tableName.lower() == tbl_name.lower() and before is not None
        if is_commit:
            context.properties["expected_parameter_key"] = METADATA_LOCATION
            context.properties["expected_parameter_value"] = before
        wanted = new_tbl.sd.cols
        refused, taken = _refused.get((dbname, tbl_name), (None, []))
        if refused == wanted:
            new_tbl.sd.cols = taken
        try:
            super().alter_table_with_environment_context(dbname, tbl_name, new_tbl, context)
        except (InvalidOperationException, MetaException) as error:
            if not is_commit:
                raise
            new_tbl.sd.cols = wanted
            self._alter_in_steps(dbname, tbl_name, new_tbl, context, error)

    def _alter_in_steps(
        self, dbname: str, tbl_name: str, new_tbl: HiveTable, context: EnvironmentContext, error: TException
    ) -> None:
        """Once more where columns may be what was refused; `error` is raised where they are not.

        A metastore compares columns by their place, as far as both have one there: so it is first told those before
        the first that changes, and then all. If it does not even take those, it is left with what it has.
        """
        before = self.get_table(dbname, tbl_name)
        had, wanted = before.sd.cols, new_tbl.sd.cols
        same = [
            old for old, new in takewhile(lambda pair: _shown(pair[0]) == _shown(pair[1]), zip(had, wanted))
        ]
        if len(same) == len(had) == len(wanted):
            raise error
        if 0 < len(same) < len(had):
            before.sd.cols = same
            super().alter_table_with_environment_context(dbname, tbl_name, before, EnvironmentContext({}))
            try:
                super().alter_table_with_environment_context(dbname, tbl_name, new_tbl, context)
                return
            except (InvalidOperationException, MetaException) as again:
                error = again
        new_tbl.sd.cols = kept = same or had
        super().alter_table_with_environment_context(dbname, tbl_name, new_tbl, context)
        _refused[dbname, tbl_name] = (wanted, kept)
        told = (dbname, tbl_name, len(kept), len(wanted), error)
        log.warning("%s.%s: the metastore shows %d of %d columns, readers of Iceberg see all: %s", *told)


def _shown(column: FieldSchema) -> tuple[str, str]:
    return column.name.strip().lower(), column.type


def _parsable(_: SchemaToHiveConverter, field: NestedField, field_result: str) -> str:
    return f"{_UNPARSABLE.sub('_', field.name)}:{field_result}"


SchemaToHiveConverter.field = _parsable  # type: ignore[method-assign, assignment]


class _Connection(_HiveClient):
    """pyiceberg's, which opens a connection for each `with`."""

    uris: list[str]

    def _init_thrift_transport(self) -> TTransport.TTransportBase:
        if self._kerberos_auth:
            return super()._init_thrift_transport()
        parts = urlsplit(self._uri)
        opened = TSocket.TSocket(parts.hostname, parts.port)
        opened.setTimeout(ANSWER_LIMIT_MS)
        return TTransport.TBufferedTransport(opened)

    def __enter__(self) -> Client:
        for _ in self.uris[1:]:
            try:
                return super().__enter__()
            except TTransport.TTransportException as error:
                self.uris.append(self.uris.pop(0))
                log.info("%s; the next is %s", self._told(error), self.uris[0])
                self._uri = self.uris[0]
                self._transport = self._init_thrift_transport()
        try:
            return super().__enter__()
        except TTransport.TTransportException as error:
            raise self._told(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, TTransport.TTransportException):
            raise self._told(error) from error

    def _told(self, error: TTransport.TTransportException) -> TTransport.TTransportException:
        """`error`, which says little more than that a read failed, with where."""
        return TTransport.TTransportException(error.type, f"the metastore at {self._uri}: {error.message}")

    def _client(self) -> Client:
        return _Metastore(super()._client()._iprot)


class LastingHiveCatalog(HiveCatalog):
    """See above."""

    def __init__(self, name: str, **properties: str) -> None:
        super().__init__(name, **{**LOCK_CHECKS, **properties})

    @staticmethod
    def _create_hive_client(properties: dict[str, str]) -> _Connection:
        uris = [uri.strip() for uri in properties[URI].split(",")]
        made = _Connection(
            uris[0],
            properties.get("ugi"),
            property_as_bool(properties, HIVE_KERBEROS_AUTH, HIVE_KERBEROS_AUTH_DEFAULT),
            properties.get(HIVE_KERBEROS_SERVICE_NAME, HIVE_KERBEROS_SERVICE_NAME_DEFAULT),
        )
        made.uris = uris
        return made

    def _wait_for_lock(
        self, database_name: str, table_name: str, lockid: int, open_client: Any
    ) -> LockResponse:
        try:
            return super()._wait_for_lock(database_name, table_name, lockid, open_client)
        except WaitingForLockException as error:
            holders = ", ".join(
                f"{one.user}@{one.hostname} ({one.agentInfo}, lock {one.lockid})"
                for one in open_client.locks(database_name, table_name)
                if one.lockid != lockid
            )
            raise CommitFailedException(
                f"{database_name}.{table_name} is locked in the metastore by {holders or 'nobody any more'}"
            ) from error

    def purge_table(self, identifier: str | tuple[str, ...]) -> None:
        """Hive's own leaves it out; a catalog that is only a pointer to files needs nothing of its own for it."""
        MetastoreCatalog.purge_table(self, identifier)
