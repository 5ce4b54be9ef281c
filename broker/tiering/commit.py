"""One change to a table, landed exactly once.

A catalog's answer may lie in both directions: an error after the change landed (a connection that broke, a time-out, a
500 after the swap), and somebody else's change in between. So after *any* error the table is read again, and only
what is in it counts: the change is there (done), somebody wrote what we were about to write (`TableMoved`), or it is
not there and is tried again on top of what is. Two attempts never both land: each asserts the snapshot it was built
on. Files of an attempt are never deleted here, since it may still land; orphan removal takes them after days.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table.update import AssertTableUUID

from broker.tiering import shared_metadata

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate

log = logging.getLogger("floe.tables")

shared_metadata.install()

ATTEMPTS: Final = 8
"""A foreign writer would have to win the race this often before a commit gives up; the next job starts afresh."""
FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 2.0


class TableMoved(Exception):
    """The table is not where the files were made for: read `marks()` again and start over. Nothing was committed."""


class Fenced(Exception):
    """A writer that started later owns the table. Nothing was committed, nor will be: stop."""


class CommitUnknown(Exception):
    """The catalog did not say whether the change landed, nor can it be asked. The next `open` finds out."""


class CommitRefused(Exception):
    """The catalog refused the change each time. Nothing was committed."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as an argument."""

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Attempt:
    updates: tuple[TableUpdate, ...]
    requirements: tuple[TableRequirement, ...]


def land(
    table: Table,
    build: Callable[[TableMetadata], Attempt],
    landed: Callable[[TableMetadata], bool],
    clock: Clock,
) -> None:
    """Brings `table` to where the change is in it.

    `build` checks that the change may be made to this metadata, and makes it; what it raises is raised.
    Raises CommitUnknown, CommitRefused and TableMoved.
    """
    wait_s = FIRST_WAIT_S
    for attempt in range(ATTEMPTS):
        made = build(table.metadata)
        try:
            _commit(table, made)
            return
        except Exception as error:  # whatever a catalog raises: requests', SQLAlchemy's, botocore's
            refresh(table, error)
            if landed(table.metadata):
                log.info("%s: the catalog answered %r, and the commit is there", _name(table), error)
                return
            if attempt == ATTEMPTS - 1:
                raise CommitRefused(f"{_name(table)}: {error!r}") from error
            log.info("%s: commit attempt %d: %r", _name(table), attempt + 1, error)
        clock.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def refresh(table: Table, cause: Exception | None = None) -> None:
    """Reads the table's metadata again. Raises CommitUnknown, and TableMoved where it was dropped or replaced."""
    try:
        table.refresh()
    except (NoSuchTableError, ValueError) as error:
        raise TableMoved(f"{_name(table)}: {error}") from (cause or error)
    except Exception as error:  # as above
        raise CommitUnknown(f"{_name(table)}: {(cause or error)!r}, and then {error!r}") from error


def _commit(table: Table, made: Attempt) -> None:
    before = table.metadata
    same = AssertTableUUID(uuid=before.table_uuid)
    response = table.catalog.commit_table(table, (same, *made.requirements), made.updates)
    table.metadata, table.metadata_location = response.metadata, response.metadata_location
    shared_metadata.remember(table.metadata_location, table.metadata)
    _forget_old_metadata(table, before)


def _forget_old_metadata(table: Table, before: TableMetadata) -> None:
    """Deletes the metadata files that fell out of the log of previous ones (`write.metadata.previous-versions-max`)."""
    if table.properties.get("write.metadata.delete-after-commit.enabled", "").lower() != "true":
        return
    kept = {entry.metadata_file for entry in table.metadata.metadata_log} | {table.metadata_location}
    for entry in before.metadata_log:
        if entry.metadata_file not in kept:
            with suppress(OSError):  # gone already, or orphan removal's
                table.io.delete(entry.metadata_file)


def _name(table: Table) -> str:
    return ".".join(table.name())
