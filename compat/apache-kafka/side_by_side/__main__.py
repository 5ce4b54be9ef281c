"""`python -m side_by_side`: ask both, print what differs, fail where it has no reason."""

from __future__ import annotations

import json
import sys
import time
from fnmatch import fnmatchcase
from typing import Any

import click
from kio.schema.index import api_key_map

from side_by_side.brokers import both
from side_by_side.compare import Rules
from side_by_side.run import Pair, Range, Result
from side_by_side.scenario import load
from tests.bench.brokers import KAFKA_VERSION, find_kafka_jars

NOT_POSSIBLE = 3
ALL_NEEDED = "every reason is needed"
"""The feature beside the APIs: a whole run used every row of `differences.toml`."""


def _report(
    results: list[Result], ranges: list[Range], rules: Rules, stale: list[str] | None, seconds: float
) -> dict[str, Any]:
    apis: dict[str, dict[str, Any]] = {}
    for result in results:
        api = apis.setdefault(
            api_key_map[result.shape.scenario.api],
            {"versions": set(), "shapes": 0, "answers": 0, "failed": 0, "explained": 0},
        )
        api["versions"].add(result.shape.version)
        api["shapes"] += 1
        api["answers"] += result.answers
        api["failed"] += bool(result.differences)
        api["explained"] += result.explained
    for api in apis.values():
        api["versions"] = sorted(api["versions"])
    return {
        "kafka": KAFKA_VERSION,
        "shapes": len(results),
        "answers": sum(result.answers for result in results),
        "failed": sum(bool(result.differences) for result in results),
        "explained": sum(result.explained for result in results),
        "seconds": round(seconds, 1),
        "apis": apis,
        "failures": [
            {
                "shape": result.shape.name,
                "differences": [d._asdict() | {"text": d.text()} for d in result.differences],
            }
            for result in results
            if result.differences
        ],
        "reasons": [{"where": row.text(), "uses": row.uses} for row in rules.reasons],
        "stale_reasons": stale,
        "not_comparable": _not_comparable(ranges),
    }


def _not_comparable(ranges: list[Range]) -> list[dict[str, str]]:
    found = []
    for entry in ranges:
        name = api_key_map[entry.api]
        if entry.floe is None:
            found.append({"api": name, "versions": _span(entry.kafka), "why": "Floe does not have it"})
        elif entry.kafka is None:
            found.append({"api": name, "versions": _span(entry.floe), "why": "Kafka does not advertise it"})
        else:
            if entry.floe[0] < entry.kafka[0]:
                span = _span((entry.floe[0], entry.kafka[0] - 1))
                found.append({"api": name, "versions": span, "why": f"Kafka {KAFKA_VERSION} dropped them"})
            both_from = max(entry.kafka[0], entry.floe[0])
            if entry.common and entry.common[0] > both_from:
                span = _span((both_from, entry.common[0] - 1))
                found.append({"api": name, "versions": span, "why": "kio does not know them"})
            if entry.kafka[1] > entry.floe[1]:
                span = _span((entry.floe[1] + 1, entry.kafka[1]))
                found.append({"api": name, "versions": span, "why": "Floe does not have them"})
    return found


def _span(versions: tuple[int, int] | None) -> str:
    return "" if versions is None else f"{versions[0]}-{versions[1]}"


def _table(report: dict[str, Any]) -> str:
    lines = [f"{'API':34} {'versions':>9} {'shapes':>7} {'answers':>8} {'failed':>7} {'explained':>10}"]
    for name, api in report["apis"].items():
        span = f"{api['versions'][0]}-{api['versions'][-1]}"
        lines.append(
            f"{name:34} {span:>9} {api['shapes']:7} {api['answers']:8} {api['failed']:7} {api['explained']:10}"
        )
    lines += _failures(report["failures"])
    if report["stale_reasons"]:
        lines += ["", "Reasons that nothing needs:", *(f"    {text}" for text in report["stale_reasons"])]
    lines += ["", "Not comparable:"]
    lines += [f"    {row['api']:34} {row['versions']:>6}  {row['why']}" for row in report["not_comparable"]]
    lines += [
        "",
        f"{report['shapes']} shapes, {report['answers']} answers: {report['failed']} shapes differ without a reason; "
        f"{report['explained']} differences have one. {report['seconds']} s beside Apache Kafka {report['kafka']}.",
    ]
    return "\n".join(lines)


def _failures(failures: list[dict[str, Any]]) -> list[str]:
    """Each difference once, with the versions that show it."""
    seen: dict[str, dict[str, list[int]]] = {}
    for failure in failures:
        api, version, name = failure["shape"].split("/")
        of_scenario = seen.setdefault(f"{api}/{name}", {})
        for one in failure["differences"]:
            text = one["text"].replace(f"{api} {version}/", f"{api}/", 1)
            of_scenario.setdefault(text, []).append(int(version[1:]))
    lines: list[str] = []
    for name, texts in seen.items():
        lines += ["", name]
        for text, versions in texts.items():
            span = f"v{versions[0]}" if len(versions) == 1 else f"v{versions[0]}-{versions[-1]}"
            lines.append(f"    {span:7} {text}")
    return lines


def _show(result: Result) -> None:
    for name, transcript in (("kafka", result.kafka), ("floe", result.floe)):
        for title, value in transcript:
            click.echo(
                f"{result.shape.name} {name} {title}: {json.dumps(value, ensure_ascii=False)}", err=True
            )


def _features(report: dict[str, Any]) -> str:
    """A line of JSON for each API, as the runner of `compat/` reads them."""
    first = {}
    for failure in reversed(report["failures"]):
        first[failure["shape"].split("/")[0]] = f"{failure['shape']}: {failure['differences'][0]['text']}"
    rows = [
        {"feature": name, "result": "fail" if name in first else "pass", "reason": first.get(name, "")}
        for name in report["apis"]
    ]
    if report["stale_reasons"] is not None:
        stale = "; ".join(report["stale_reasons"])
        rows.append({"feature": ALL_NEEDED, "result": "fail" if stale else "pass", "reason": stale})
    return "\n".join(json.dumps(row) for row in rows)


_OUTPUTS = {
    "table": _table,
    "json": lambda report: json.dumps(report, indent=2),
    "features": _features,
}


@click.command()
@click.option("--only", multiple=True, help="Shapes like this: produce/v9/*, */unknown-topic. Repeatable.")
@click.option("--smoke", is_flag=True, help="The short form.")
@click.option("--output", type=click.Choice(list(_OUTPUTS)), default="table")
@click.option("--fetch-only", is_flag=True, help="Fetch Kafka through Maven, and end.")
@click.option("--show", is_flag=True, help="Print both transcripts of every shape.")
def main(only: tuple[str, ...], smoke: bool, output: str, fetch_only: bool, show: bool) -> None:
    """Ask Apache Kafka and Floe the same, and compare the answers field by field."""
    jars = find_kafka_jars()
    if isinstance(jars, str):
        click.echo(f"not run: {jars}", err=True)
        sys.exit(NOT_POSSIBLE)
    if fetch_only:
        return
    started = time.monotonic()
    rules = Rules()
    with both(jars) as (kafka, floe):
        pair = Pair(kafka, floe)
        scenarios = [known for known in load() if known.smoke or not smoke]
        shapes = [
            shape
            for shape in pair.shapes(scenarios)
            if not only or any(fnmatchcase(shape.name, pattern) for pattern in only)
        ]
        results = []
        for shape in shapes:
            results.append(pair.run(shape, rules))
            if show:
                _show(results[-1])
        pair.close()
    stale = None if only or smoke else [row.text() for row in rules.stale()]
    report = _report(results, pair.ranges, rules, stale, time.monotonic() - started)
    click.echo(_OUTPUTS[output](report))
    sys.exit(bool(report["failed"] or stale))


if __name__ == "__main__":
    main()
