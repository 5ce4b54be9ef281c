"""kcat, Debian's package, unchanged."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.clients.cases import COMPRESSIONS
from tests.floe_process import FloeProcess

KCAT = shutil.which("kcat") or shutil.which("kafkacat")
LIMIT_S = 60

pytestmark = pytest.mark.skipif(KCAT is None, reason="kcat is not installed (Debian: apt-get install kcat)")


def kcat(floe: FloeProcess, *arguments: str, stdin: str = "") -> str:
    assert KCAT is not None
    done = subprocess.run(
        [KCAT, "-b", floe.bootstrap, *arguments], input=stdin, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_lines_come_back_as_they_went(shared_floe: FloeProcess, compression: str) -> None:
    topic = f"kcat-{compression}"
    lines = "".join(f"key-{n}:value-{n}\n" for n in range(500))
    kcat(shared_floe, "-P", "-t", topic, "-K", ":", "-z", compression, "-H", "color=blue", stdin=lines)
    out = kcat(shared_floe, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J")
    records = [json.loads(line) for line in out.splitlines()]
    assert [(r["key"], r["payload"], r["offset"]) for r in records] == [
        (f"key-{n}", f"value-{n}", n) for n in range(500)
    ]
    assert all(record["headers"] == ["color", "blue"] for record in records)


def test_a_line_without_value_is_a_tombstone(shared_floe: FloeProcess) -> None:
    kcat(shared_floe, "-P", "-t", "kcat-nulls", "-K", ":", "-Z", stdin="gone:\n:kept\n")
    out = kcat(shared_floe, "-C", "-t", "kcat-nulls", "-o", "beginning", "-e", "-q", "-J")
    records = [json.loads(line) for line in out.splitlines()]
    assert [(record["key"], record["payload"]) for record in records] == [("gone", None), (None, "kept")]


def test_the_metadata_listing_names_broker_and_topics(shared_floe: FloeProcess) -> None:
    kcat(shared_floe, "-P", "-t", "kcat-listed", stdin="x\n")
    listing = json.loads(kcat(shared_floe, "-L", "-J"))
    assert listing["brokers"] == [{"id": listing["controllerid"], "name": shared_floe.bootstrap}]
    assert "kcat-listed" in [topic["topic"] for topic in listing["topics"]]
