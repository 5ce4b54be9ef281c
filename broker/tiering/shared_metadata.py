"""What pyiceberg is spared at a commit: copying and reading again what cannot have changed.

A catalog of pyiceberg's own reads the whole metadata file, makes the new metadata, and copies that deeply. All three
grow with the snapshots: with 420 of them they were 45 of the 60 ms of processor time that a commit took. Two things
make it unnecessary, and both hold for the whole process:

- Snapshots and log entries are values (pyiceberg freezes them, and its updates build new lists): a deep copy of one is
  itself.
- A metadata file never changes once it is there. What this process wrote under a location, it need not read from it.
  Whether the location is still the table's, the catalog says each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakValueDictionary

from pyiceberg.serializers import FromInputFile
from pyiceberg.table.snapshots import MetadataLogEntry, Snapshot, SnapshotLogEntry

if TYPE_CHECKING:
    from pyiceberg.io import InputFile
    from pyiceberg.table.metadata import TableMetadata

_Value = TypeVar("_Value")

VALUES: Final = (Snapshot, SnapshotLogEntry, MetadataLogEntry)
"""What there is one of for each commit that is remembered."""

_written: WeakValueDictionary[str, TableMetadata] = WeakValueDictionary()
"""By location, as long as an open table holds it."""


def remember(location: str, metadata: TableMetadata) -> None:
    """This is what the file at `location` holds."""
    _written[location] = metadata


def install() -> None:
    """Make pyiceberg share. May be called again."""
    for kind in VALUES:
        kind.__deepcopy__ = _itself  # type: ignore[method-assign, assignment]
    if not getattr(FromInputFile.table_metadata, "remembers", False):
        remembering = _remembering(FromInputFile.table_metadata)
        FromInputFile.table_metadata = staticmethod(remembering)  # type: ignore[method-assign]


def _itself(value: _Value, _: dict[int, Any] | None = None) -> _Value:
    return value


def _remembering(read: Callable[..., TableMetadata]) -> Callable[..., TableMetadata]:
    def table_metadata(input_file: InputFile, *arguments: Any, **named: Any) -> TableMetadata:
        known = _written.get(input_file.location)
        return known if known is not None else read(input_file, *arguments, **named)

    table_metadata.remembers = True  # type: ignore[attr-defined]
    return table_metadata
