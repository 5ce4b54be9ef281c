"""Iceberg's REST catalog with an end to waiting.

pyiceberg asks without any time limit: a server that takes a request and never answers would hold up the tables of all
topics until the worker is killed for its silence. The limits are named as Iceberg's own client names them,
`rest.client.connection-timeout-ms` and `rest.client.socket-timeout-ms`. A commit whose answer is late is one whose
answer is lost (`commit.py`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.catalog.rest import RestCatalog

if TYPE_CHECKING:
    from requests import Session

CONNECTION_TIMEOUT_MS: Final = 10_000
SOCKET_TIMEOUT_MS: Final = 60_000
"""Between two pieces of an answer: servers that commit to an object store take seconds."""


class PunctualRestCatalog(RestCatalog):
    """Raises requests' timeouts."""

    def _create_session(self) -> Session:
        session = super()._create_session()
        given: dict[str, Any] = self.properties
        limits_s = (
            int(given.get("rest.client.connection-timeout-ms", CONNECTION_TIMEOUT_MS)) / 1000,
            int(given.get("rest.client.socket-timeout-ms", SOCKET_TIMEOUT_MS)) / 1000,
        )
        session.request = partial(session.request, timeout=limits_s)  # type: ignore[method-assign]
        return session
