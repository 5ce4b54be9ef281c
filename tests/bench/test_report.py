"""The verdicts of the benchmark; its figures are not asserted anywhere."""

from tests.bench.report import Line, make_lines, table
from tests.bench.workloads import WORKLOADS, Goal, Workload


def test_a_rate_must_reach_its_floor_and_a_time_stay_below() -> None:
    rate = Goal("r", 2, 5)
    time = Goal("t", 0.1, lower_is_better=True)
    verdicts = [Line("w", rate, floe, 10).verdict for floe in (19, 20, 50)]
    assert verdicts == ["floor missed", "floor met", "aim met"]
    assert [Line("w", time, floe, 100).verdict for floe in (9, 11)] == ["floor met", "floor missed"]


def test_without_kafka_or_a_floor_there_is_no_verdict() -> None:
    assert Line("w", Goal("r", 2), 5, None).verdict == ""
    assert Line("w", Goal("r"), 5, 1).verdict == ""


def test_the_median_counts_and_failed_runs_do_not() -> None:
    workload = Workload("w", "produce", (Goal("r", 1),))
    floe = [{"r": 1.0}, {"failed": 1.0}, {"r": 3.0}, {"r": 100.0}]
    (line,) = make_lines(workload, floe, [{"r": 3.0}])
    assert (line.floe, line.ratio) == (3.0, 1.0)
    assert "floor met" in table([line])


def test_names_are_unique() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)
