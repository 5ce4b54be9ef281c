"""What users of kcat do, checked by what comes back."""

import json
import os
import subprocess

from features import BOOTSTRAP, Features, equal

KCAT = os.environ["KCAT"]
COUNT = 500
features = Features()


def kcat(*arguments, stdin=""):
    done = subprocess.run(
        [KCAT, "-b", BOOTSTRAP, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def lines(first, count):
    return "".join(f"key-{n}:value-{n}\n" for n in range(first, first + count))


def records(output):
    return [(r["key"], r["payload"], r["offset"]) for r in map(json.loads, output.splitlines())]


def expected(first, count):
    return [(f"key-{n}", f"value-{n}", n) for n in range(first, first + count)]


def round_trip(topic, *settings):
    kcat("-P", "-t", topic, "-K", ":", *settings, stdin=lines(0, COUNT))
    output = kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J")
    equal(records(output), expected(0, COUNT), "records")
    return output


for kind in ("none", "gzip", "snappy", "lz4", "zstd"):
    features.check("produce and consume" if kind == "none" else kind)(
        lambda kind=kind: round_trip("kind-" + kind, "-z", kind)
    )


@features.check("headers")
def headers():
    output = round_trip("headers", "-H", "color=blue")
    equal(
        {tuple(json.loads(line)["headers"]) for line in output.splitlines()}, {("color", "blue")}, "headers"
    )


@features.check("idempotent producer")
def idempotent():
    round_trip("idempotent", "-X", "enable.idempotence=true")


@features.check("acks 0 and 1")
def acks():
    round_trip("acks-0", "-X", "acks=0")
    round_trip("acks-1", "-X", "acks=1")


@features.check("offsets, counts and ends")
def offsets():
    round_trip("ends")
    equal(records(kcat("-C", "-t", "ends", "-o", "490", "-e", "-q", "-J")), expected(490, 10), "from 490")
    equal(records(kcat("-C", "-t", "ends", "-o", "-3", "-e", "-q", "-J")), expected(497, 3), "the last three")
    equal(records(kcat("-C", "-t", "ends", "-o", "5", "-c", "2", "-q", "-J")), expected(5, 2), "two from 5")


@features.check("offset by time")
def offset_by_time():
    round_trip("times")
    first = json.loads(kcat("-C", "-t", "times", "-c", "1", "-q", "-J"))["ts"]
    equal(kcat("-Q", "-t", f"times:0:{first}").split()[-1], "0", "the first record's time")
    equal(kcat("-Q", "-t", f"times:0:{first + 3600000}").split()[-1], "-1", "after the last record")


@features.check("metadata")
def metadata():
    round_trip("listed")
    listed = json.loads(kcat("-L", "-J", "-t", "listed"))
    equal(listed["topics"][0]["topic"], "listed", "topic")
    equal(len(listed["topics"][0]["partitions"]), 1, "partitions")
    equal(listed["brokers"][0]["name"], BOOTSTRAP, "broker")


@features.check("group: commit and resume")
def group():
    kcat("-P", "-t", "grouped", "-K", ":", stdin=lines(0, COUNT))
    arguments = ("-q", "-J", "-X", "auto.offset.reset=earliest", "-G", "readers", "grouped")
    equal(records(kcat("-c", "200", *arguments)), expected(0, 200), "the first 200")
    equal(records(kcat("-e", *arguments)), expected(200, 300), "the rest")


@features.check("transactions: committed")
def transactions():
    round_trip("transactional", "-X", "transactional.id=kcat")


features.run()
