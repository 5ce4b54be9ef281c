"""Iceberg's REST catalog over HTTP, as far as tables need it, in front of a SQL catalog.

The server side is not a model of any product: it speaks the protocol that REST catalogs share, so that our use of
pyiceberg's client is run against real requests, 404s and 409s. It chooses where tables are, as such servers do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final

from pyiceberg.catalog.rest import CreateTableRequest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import CommitTableRequest, CommitTableResponse, Table
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

STATUS: Final[dict[type[Exception], int]] = {
    NoSuchNamespaceError: 404,
    NoSuchTableError: 404,
    NamespaceAlreadyExistsError: 409,
    TableAlreadyExistsError: 409,
    CommitFailedException: 409,
}


class RestServer:
    """What each request does. `answer_lost`: the next commit lands and is answered with a 500 or 503."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self.catalog = catalog
        self.answer_lost: int | None = None
        self.commits = 0
        self._lock = Lock()

    def do(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """None: 204. Raises what is in STATUS, and Lost."""
        with self._lock:
            match method, path.partition("?")[0].strip("/").split("/")[1:]:
                case "GET", ["config"]:
                    return {"defaults": {}, "overrides": {}}
                case "POST", ["namespaces"]:
                    namespace = tuple(json.loads(body)["namespace"])
                    self.catalog.create_namespace(namespace)
                    return {"namespace": namespace, "properties": {}}
                case "GET", ["namespaces", namespace]:
                    return {"namespace": [namespace], "properties": self._properties(namespace)}
                case "POST", ["namespaces", namespace, "tables"]:
                    return self._create(
                        namespace,
                        CreateTableRequest.model_validate(
                            {"location": None, "partition-spec": None, "write-order": None} | json.loads(body)
                        ),
                    )
                case "GET", ["namespaces", namespace, "tables", name]:
                    return _described(self.catalog.load_table((namespace, name)))
                case "POST", ["namespaces", _, "tables", _]:
                    return self._commit(CommitTableRequest.model_validate_json(body))
                case "DELETE", ["namespaces", namespace, "tables", name]:
                    self.catalog.purge_table((namespace, name))
                    return None
                case "POST", ["tables", "rename"]:
                    names = [
                        (*json.loads(body)[key]["namespace"], json.loads(body)[key]["name"])
                        for key in ("source", "destination")
                    ]
                    self.catalog.rename_table(*names)
                    return None
        raise NotImplementedError(f"{method} {path}")

    def _properties(self, namespace: str) -> dict[str, str]:
        return dict(self.catalog.load_namespace_properties(namespace))

    def _create(self, namespace: str, asked: CreateTableRequest) -> dict[str, Any]:
        assert asked.location is None, "the server decides"
        spec = asked.partition_spec or UNPARTITIONED_PARTITION_SPEC
        order = asked.write_order or UNSORTED_SORT_ORDER
        made = self.catalog.create_table(
            (namespace, asked.name), asked.table_schema, None, spec, order, asked.properties
        )
        return _described(made)

    def _commit(self, asked: CommitTableRequest) -> dict[str, Any]:
        self.commits += 1
        identifier = (*asked.identifier.namespace.root, asked.identifier.name)
        table = self.catalog.load_table(identifier)
        done = self.catalog.commit_table(table, asked.requirements, asked.updates)
        if self.answer_lost is not None:
            status, self.answer_lost = self.answer_lost, None
            raise Lost(status)
        answer: dict[str, Any] = json.loads(CommitTableResponse.model_dump_json(done))
        return answer


class Lost(Exception):
    """The answer, not the commit; its argument is the status."""


def _described(table: Table) -> dict[str, Any]:
    metadata = json.loads(table.metadata.model_dump_json())
    return {"metadata-location": table.metadata_location, "metadata": metadata, "config": {}}


def _handler(server: RestServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                answer = server.do(self.command, self.path, body)
                status = 200 if answer is not None else 204
            except Exception as error:
                status = error.args[0] if isinstance(error, Lost) else STATUS.get(type(error), 500)
                answer = {"error": {"message": str(error), "type": type(error).__name__, "code": status}}
            data = json.dumps(answer).encode() if answer is not None else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(catalog: SqlCatalog) -> Iterator[tuple[RestServer, str]]:
    """The server and its URI."""
    server = RestServer(catalog)
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    listener.daemon_threads = True
    thread = Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
