"""A Hive metastore over Thrift, as far as tables need it, with what a real one is strict about.

It keeps locks until they are released, whoever took them; refuses types it cannot parse and changes of columns it takes
for incompatible; and compares the parameter that a commit expects. `compat/table-catalogs` has real ones.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import RLock, Thread
from typing import Final

from hive_metastore.ThriftHiveMetastore import Client, Processor
from hive_metastore.ttypes import (
    AlreadyExistsException,
    CheckLockRequest,
    Database,
    EnvironmentContext,
    FieldSchema,
    InvalidOperationException,
    LockRequest,
    LockResponse,
    LockState,
    LockType,
    MetaException,
    NoSuchObjectException,
    ShowLocksRequest,
    ShowLocksResponse,
    ShowLocksResponseElement,
    Table,
    UnlockRequest,
)
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

_PRIMITIVES: Final = {"boolean", "int", "bigint", "float", "double", "timestamp", "string", "binary"}
_TOKEN: Final = re.compile(r"[\w. $]+|.")


class Metastore:
    """What each request does. Times are milliseconds of a clock that is `now_ms`."""

    def __init__(self) -> None:
        self.databases: dict[str, Database] = {}
        self.tables: dict[tuple[str, str], Table] = {}
        self.held: list[ShowLocksResponseElement] = []
        self.alters = self.refused = 0
        self.now_ms = 1_000_000
        self.longest_type = 4000
        """Characters that its database holds of a column's type."""
        self.answers_lost: list[str] = []
        """Methods whose next answer does not arrive though they were done."""
        self._ids = itertools.count(1)
        self._lock = RLock()

    def _lose(self, method: str) -> None:
        if method in self.answers_lost:
            self.answers_lost.remove(method)
            raise TTransportException(message="the connection breaks")

    def create_database(self, database: Database) -> None:
        if database.name in self.databases:
            raise AlreadyExistsException(database.name)
        database.parameters = database.parameters or {}
        self.databases[database.name] = database

    def get_database(self, name: str) -> Database:
        if name not in self.databases:
            raise NoSuchObjectException(name)
        return self.databases[name]

    def create_table(self, tbl: Table) -> None:
        key = (tbl.dbName.lower(), tbl.tableName.lower())
        if key in self.tables:
            raise AlreadyExistsException(tbl.tableName)
        tbl.dbName, tbl.tableName = key
        self.tables[key] = tbl

    def get_table(self, dbname: str, tbl_name: str) -> Table:
        self._lose("get_table")
        found = self.tables.get((dbname.lower(), tbl_name.lower()))
        if found is None:
            raise NoSuchObjectException(tbl_name)
        return copy.deepcopy(found)

    def drop_table(self, dbname: str, name: str, deleteData: bool) -> None:  # noqa: N803
        assert not deleteData
        if self.tables.pop((dbname.lower(), name.lower()), None) is None:
            raise NoSuchObjectException(name)

    def alter_table_with_environment_context(
        self, dbname: str, tbl_name: str, new_tbl: Table, environment_context: EnvironmentContext
    ) -> None:
        with self._lock:
            before = self.get_table(dbname, tbl_name)
            self._check_columns(before.sd.cols, new_tbl.sd.cols)
            given = environment_context.properties
            key = given.get("expected_parameter_key")
            if key and before.parameters[key] != given["expected_parameter_value"]:
                self.refused += 1
                raise MetaException("The table has been modified.")
            self.tables.pop((dbname.lower(), tbl_name.lower()))
            self.create_table(new_tbl)
            self.alters += 1
        self._lose("alter")

    def _check_columns(self, before: list[FieldSchema], after: list[FieldSchema]) -> None:
        changed = []
        for old, new in zip(before, after, strict=False):
            primitive = _is_primitive(old.type)
            if old.type != new.type and not (primitive and _is_primitive(new.type)):
                changed.append(old.name)
        if changed or max(len(one.type) for one in after) > self.longest_type:
            self.refused += 1
            raise InvalidOperationException(f"types incompatible with the existing columns: {changed}")

    def lock(self, rqst: LockRequest) -> LockResponse:
        component = rqst.component[0]
        assert component.type == LockType.EXCLUSIVE
        with self._lock:
            made = ShowLocksResponseElement(
                lockid=next(self._ids),
                dbname=component.dbname.lower(),
                tablename=component.tablename.lower(),
                state=LockState.WAITING,
                type=component.type,
                lastheartbeat=self.now_ms,
                user=rqst.user,
                hostname=rqst.hostname,
                agentInfo=rqst.agentInfo,
            )
            self.held.append(made)
        answer = self.check_lock(CheckLockRequest(lockid=made.lockid))
        self._lose("lock")
        return answer

    def check_lock(self, rqst: CheckLockRequest) -> LockResponse:
        with self._lock:
            wanted = next(one for one in self.held if one.lockid == rqst.lockid)
            before = [
                one
                for one in self.held
                if one.lockid < wanted.lockid
                and (one.dbname, one.tablename) == (wanted.dbname, wanted.tablename)
            ]
            wanted.state = LockState.WAITING if before else LockState.ACQUIRED
            return LockResponse(lockid=wanted.lockid, state=wanted.state)

    def unlock(self, rqst: UnlockRequest) -> None:
        with self._lock:
            self.held = [one for one in self.held if one.lockid != rqst.lockid]

    def show_locks(self, rqst: ShowLocksRequest) -> ShowLocksResponse:
        return ShowLocksResponse(locks=list(self.held))


def _is_primitive(hive_type: str) -> bool:
    """Raises MetaException for what Hive cannot parse."""
    tokens = _TOKEN.findall(hive_type)
    if tokens[0] in _PRIMITIVES and len(tokens) == 1:
        return True
    if any(not (token.isidentifier() or token in "<>:,") for token in tokens):
        raise MetaException(f"java.lang.IllegalArgumentException: Error: type expected in {hive_type!r}")
    return False


@contextmanager
def serving() -> Iterator[tuple[Metastore, str]]:
    """The metastore and its URI."""
    metastore = Metastore()
    processor = Processor(metastore)

    class Connection(BaseRequestHandler):
        def handle(self) -> None:
            opened = TSocket()
            opened.setHandle(self.request)
            protocol = TBinaryProtocol(TBufferedTransport(opened))
            with suppress(TTransportException):
                while True:
                    processor.process(protocol, protocol)

    listener = ThreadingTCPServer(("127.0.0.1", 0), Connection)
    listener.daemon_threads = True
    thread = Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield metastore, f"thrift://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


@contextmanager
def client(uri: str) -> Iterator[Client]:
    """A client of Hive's interface as it is."""
    host, _, port = uri.removeprefix("thrift://").partition(":")
    transport = TBufferedTransport(TSocket(host, int(port)))
    transport.open()
    try:
        yield Client(TBinaryProtocol(transport))
    finally:
        transport.close()
