"""From the log's bytes to a Parquet file, step by step: `python -m tests.bench.table_rows`.

CPU seconds per million records, on one thread, of the best of some rounds, beside what `pyarrow.json` and Parquet
alone take for the same JSON lines. The commit itself is not in it.
"""

import io
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from broker.cli import clickstream
from broker.cli.output import Quantity, format_table
from broker.tiering import data_files, rows
from protocol import columns, records
from protocol.records import Record
from tests.broker.tiering.sample_records import TableTarget, make_table

MAX_DECOMPRESSED_BYTES = 1 << 26
CODECS = {"none": 0, "lz4": 3, "zstd": 4}


def batches(values: list[bytes], records_per_batch: int, codec: int) -> bytes:
    """One partition's log of these values."""
    built: list[bytes] = []
    for first in range(0, len(values), records_per_batch):
        part = values[first : first + records_per_batch]
        source = [
            Record(timestamp=1_700_000_000_000 + first + at, value=value) for at, value in enumerate(part)
        ]
        built.append(bytes(records.build(source, base_offset=first, compression=codec)))
    return b"".join(built)


def cpu_seconds(run: Callable[[], Any], rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return best


class Pipeline:
    """Decode, convert and write again and again; each step for itself keeps what the one before made."""

    def __init__(self, log: bytes, mode: str, folder: Path) -> None:
        self._log = log
        self._builder = rows.RowBuilder(mode)
        self._schema = rows.initial_schema(mode, rows.RAW)
        for converted in self.convert():
            self._schema = converted.schema
        self._target = TableTarget(make_table(folder, self._schema))

    def decode(self) -> Iterator[columns.RecordColumns]:
        return columns.decode(self._log, MAX_DECOMPRESSED_BYTES)

    def convert(self) -> Iterator[rows.Converted]:
        for piece in self.decode():
            yield from self._builder.convert_in_parts(piece, 0, self._schema)

    def write(self) -> None:
        writer = data_files.DataFiles()
        for converted in self.convert():
            writer.append(self._target, converted.rows)
        writer.finish()


def exhaust(run: Callable[[], Iterator[Any]]) -> Callable[[], None]:
    def to_the_end() -> None:
        for _ in run():
            pass

    return to_the_end


def alone(values: list[bytes], folder: Path, rounds: int) -> tuple[float, float]:
    """CPU seconds of `pyarrow.json` and of Parquet for the same lines, with nothing around them."""
    lines = b"\n".join(values)
    options = pa_json.ReadOptions(use_threads=False)
    table = pa_json.read_json(io.BytesIO(lines), read_options=options)
    path = str(folder / "alone.parquet")
    return (
        cpu_seconds(lambda: pa_json.read_json(io.BytesIO(lines), read_options=options), rounds),
        cpu_seconds(lambda: pq.write_table(table, path, compression="zstd"), rounds),
    )


@click.command()
@click.option("--records", "count", type=int, default=300_000, show_default=True, help="Records a round.")
@click.option("--rounds", type=int, default=3, show_default=True, help="The best of so many counts.")
@click.option("--batch", type=int, default=150, show_default=True, help="Records in a batch.")
@click.option(
    "--events", "kind", type=click.Choice(["small", "clickstream"]), default="small", show_default=True
)
def main(count: int, rounds: int, batch: int, kind: str) -> None:
    """Measure decoding, conversion and files in each mode."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    values = events(count, kind)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        json_s, parquet_s = alone(values, Path(folder), rounds)
        for mode, codec in (
            ("raw", "none"),
            ("text", "none"),
            ("json", "none"),
            ("json", "lz4"),
            ("json", "zstd"),
        ):
            place = Path(folder) / f"{mode}-{codec}"
            place.mkdir()
            pipeline = Pipeline(batches(values, batch, CODECS[codec]), mode, place)
            decode_s = cpu_seconds(exhaust(pipeline.decode), rounds)
            convert_s = cpu_seconds(exhaust(pipeline.convert), rounds)
            all_s = cpu_seconds(pipeline.write, rounds)
            million = 1e6 / count
            peer = f"{all_s / (json_s + parquet_s):.2f}" if mode == "json" else ""
            figures = (decode_s, convert_s - decode_s, all_s - convert_s, all_s)
            lines.append(
                (mode, codec, *(Quantity(f"{one * million:.2f}") for one in figures), Quantity(peer))
            )
    click.echo(
        f"{count} events of {sum(map(len, values)) / count:.0f} bytes, {batch} in a batch; CPU seconds per million"
    )
    click.echo(f"pyarrow.json alone {json_s * 1e6 / count:.2f}, Parquet alone {parquet_s * 1e6 / count:.2f}")
    click.echo(format_table(("VALUE", "CODEC", "DECODE", "ROWS", "FILES", "ALL", "OF ALONE"), lines))


def events(count: int, kind: str) -> list[bytes]:
    """`small`: flat objects of 110 bytes; `clickstream`: what `floe generate clickstream` sends."""
    if kind == "clickstream":
        return [event.value for event in islice(clickstream.events(1, 1_700_000_000_000, 1000), count)]
    chance = random.Random(1)
    kinds = ("page_view", "search", "purchase")
    return [
        b'{"event_id":%d,"user_id":%d,"kind":"%s","page":"/products/%d","price":%.2f,"session":"s-%08x"}'
        % (
            at,
            chance.randrange(50_000),
            chance.choice(kinds).encode(),
            chance.randrange(10_000),
            chance.random() * 100,
            chance.randrange(2**32),
        )
        for at in range(count)
    ]


if __name__ == "__main__":
    main()
