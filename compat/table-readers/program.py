"""A million events of a clickstream, read as a table by an engine that knows nothing of Floe.

Usage: program.py PYTHON READER. READER is a script for the engine's own Python; it is given the metadata file and the
data folder, and prints its answers as one JSON object. Here the same is worked out from the generator, which makes the
same events for the same seed.
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from features import BOOTSTRAP, Features, equal  # noqa: E402

from broker.cli.clickstream import events  # noqa: E402

COUNT = 1_000_000
SEED = 5
START_MS = 1_790_000_100_000
PATIENCE_S = 120.0
READER_LIMIT_S = 200.0

features = Features()
told = {}


def expected():
    """What the questions ask, from the events themselves."""
    types = Counter()
    ids = hits = items = 0
    total = 0.0
    by_hour = Counter()
    sample = None
    for event in islice(events(SEED, START_MS, 1000), COUNT):
        value = json.loads(event.value)
        types[value["event_type"]] += 1
        ids += value["event_id"]
        by_hour[event.timestamp // 3_600_000] += 1
        if "search" in value:
            hits += value["search"]["hits"]
        if "order" in value:
            total += value["order"]["total"]
            items += value["order"]["items"]
        if value["event_id"] == 123_456:
            sample = [event.key.decode(), value["page"]["url"], event.timestamp]
    last_hour = max(by_hour)
    return {
        "count": COUNT,
        "ids": ids,
        "types": dict(types),
        "hits": hits,
        "items": items,
        "total": round(total, 2),
        "last_hour": by_hour[last_hour],
        "last_hour_begins": last_hour * 3600,
        "offsets": COUNT,
        "sample": sample,
    }


def floe(*arguments):
    """Run a command of Floe's own."""
    command = [str(HERE.parent.parent / ".venv/bin/floe"), *arguments, "--bootstrap-server", BOOTSTRAP]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def metadata_location():
    """Where the catalog says the table is, None while it is not there."""
    catalog = Path(os.environ["FLOE_DATA"]) / "catalog.db"
    if not catalog.exists():
        return None
    with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as database:
        row = database.execute(
            "SELECT metadata_location FROM iceberg_tables WHERE table_name = 'clicks'"
        ).fetchone()
    return row[0] if row else None


def rows_in_table():
    """`total-records` of the current snapshot."""
    location = metadata_location()
    if location is None:
        return 0
    try:
        metadata = json.loads(Path(location.removeprefix("file://")).read_text())
    except FileNotFoundError:  # a newer one took its place meanwhile
        return 0
    current = metadata.get("current-snapshot-id")
    summaries = {one["snapshot-id"]: one["summary"] for one in metadata.get("snapshots", ())}
    return int(summaries[current]["total-records"]) if current in summaries else 0


def read():
    """Have the engine answer, once."""
    if not told:
        command = [sys.argv[1], sys.argv[2], metadata_location(), os.environ["FLOE_DATA"]]
        environment = {**os.environ, "LAST_HOUR_BEGINS": str(wanted["last_hour_begins"])}
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=READER_LIMIT_S, env=environment
        )
        if ended.returncode:
            raise RuntimeError(ended.stderr[-2000:])
        told.update(json.loads(ended.stdout.splitlines()[-1]))
    return told


def compare(*names):
    """Both must say the same."""
    answer = read()
    for name in names:
        equal(answer[name], wanted[name], name)


@features.check("a million events are in the table")
def _():
    settings = ["floe.table.enable=true", "floe.table.value=json", "floe.table.key=text"]
    floe("topics", "create", "clicks", "-p", "4", *(part for one in settings for part in ("-c", one)))
    floe("generate", "clickstream", "clicks", "-n", str(COUNT), "--seed", str(SEED), "--start", str(START_MS))
    last = time.monotonic()
    while (rows := rows_in_table()) < COUNT and time.monotonic() - last < PATIENCE_S:
        time.sleep(0.2)
    equal(rows, COUNT, "rows in the table")
    sys.stderr.write(f"the last one was there {time.monotonic() - last:.1f} s after it was acknowledged\n")


@features.check("counts and sums")
def _():
    compare("count", "ids", "types", "offsets")


@features.check("nested columns")
def _():
    compare("hits", "items", "total")


@features.check("keys, timestamps and single rows")
def _():
    compare("sample")


@features.check("a filter on the timestamp")
def _():
    compare("last_hour")


wanted = expected()
features.run()
