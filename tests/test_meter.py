"""The time left is told truly: recorded runs are played again, on the clock they were made by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import median, quantiles
from typing import Any

import pytest
from meter_traces import TRACES, replay

from tokenflow_engine.client.errors import Cancelled
from tokenflow_engine.client.progress import PHASES, Progress
from tokenflow_engine.phases.meter import ProgressMeter

TRACE = TRACES / "embedded.json"
LONG = ("invert", "correspond", "edit")
"""Phases that hold nearly all of the time."""


def seconds_of(calls: list[list[Any]]) -> Iterator[tuple[tuple[Any, ...], float]]:
    """(what was done, seconds it took) for each call that has a time."""
    now, phase = calls[0][-1], ""
    for call in calls:
        if call[0] == "plan":
            continue
        phase = call[1] if call[0] == "phase" else phase
        yield (phase, *call[:-1]), max(0.0, call[-1] - (now if isinstance(now, float) else 0.0))
        now = call[-1]


def retimed(calls: list[list[Any]], seconds: list[float]) -> list[list[Any]]:
    """The same calls with other times between them."""
    left, now, changed = iter(seconds), 1.0, []
    for call in calls:
        if call[0] != "plan":
            now += next(left)
            call = [*call[:-1], now]
        changed.append(call)
    return changed


def steadied(calls: list[list[Any]]) -> list[list[Any]]:
    """The same run on a machine whose speed does not change: every call takes what calls of its
    kind and size take in the median. The recording was made beside other programs."""
    taken = list(seconds_of(calls))
    kinds: dict[tuple[Any, ...], list[float]] = {}
    for what, seconds in taken:
        kinds.setdefault(what, []).append(seconds)
    return retimed(calls, [median(kinds[what]) for what, _ in taken])


def slowed(calls: list[list[Any]], factor: float, after: str) -> list[list[Any]]:
    """The same run where everything from a phase on takes `factor` times as long."""
    late = PHASES.index(after)
    return retimed(
        calls,
        [s * (factor if PHASES.index(what[0]) >= late else 1) for what, s in seconds_of(calls)],
    )


def misjudgements(calls: list[list[Any]]) -> Iterator[tuple[str, float, float]]:
    """(phase, share of it done, relative error of the time left) of every report but the last ones,
    where nothing is left to be wrong about."""
    end = calls[-1][-1]
    reports = list(replay(calls))
    start = reports[0][1]
    for report, now in reports:
        left = end - now
        if report.phase in LONG and left > 0.1 * (end - start):
            assert report.eta_seconds is not None or report.done == 0
            if report.eta_seconds is not None:
                yield report.phase, report.done / report.total, abs(report.eta_seconds / left - 1)


def recorded() -> list[list[Any]]:
    calls: list[list[Any]] = json.loads(TRACE.read_text("utf-8"))
    return calls


def test_after_a_tenth_of_a_phase_the_time_left_is_within_a_fifth() -> None:
    seen = set()
    for phase, share, error in misjudgements(steadied(recorded())):
        if share >= 0.1:
            seen.add(phase)
            assert error < 0.2, (phase, share)
    assert seen == set(LONG)


def test_beside_other_programs_most_of_what_is_told_is_within_a_fifth_too() -> None:
    errors = [error for _, share, error in misjudgements(recorded()) if share >= 0.1]
    assert quantiles(errors, n=10)[-1] < 0.2


def test_a_machine_that_becomes_slower_shows_within_a_third_of_a_phase() -> None:
    calls = slowed(steadied(recorded()), 2.0, after="edit")
    late = [e for phase, share, e in misjudgements(calls) if phase == "edit" and share > 0.35]
    assert late and max(late) < 0.2


def test_kinds_of_work_are_told_apart_and_the_first_call_is_forgotten() -> None:
    now = 0.0
    reports: list[Progress] = []
    meter = ProgressMeter({}, reports.append, clock=lambda: now)
    meter.plan("edit", {"keyframes": 10, "frames": 100})
    with meter.phase("edit"):
        for kind, units, seconds in (
            ("keyframes", 2, 50.0),
            ("frames", 20, 30.0),
            ("keyframes", 2, 4.0),
            ("frames", 20, 20.0),
        ):
            now += seconds
            meter.advance(units, kind)
        assert reports[-1].done == 44 and reports[-1].total == 110
        assert reports[-1].eta_seconds == pytest.approx(6 * 2.0 + 60 * 1.0)


def test_what_has_not_been_measured_is_estimated_from_what_has() -> None:
    now = 0.0
    reports: list[Progress] = []
    meter = ProgressMeter({"edit": {"frames": 10}}, reports.append, clock=lambda: now)
    meter.plan("invert", 20)
    with meter.phase("invert"):
        assert reports[-1].eta_seconds is None
        now = 10.0
        meter.advance(10)
        assert reports[-1].eta_seconds is not None and reports[-1].eta_seconds > 10


@pytest.mark.parametrize(("change", "left"), [(-4, 2), (3, 9), (-6, 0)])
def test_a_phase_that_turns_out_shorter_or_longer_is_told_so(change: int, left: int) -> None:
    now = 0.0
    reports: list[Progress] = []
    meter = ProgressMeter({}, reports.append, clock=lambda: now)
    meter.plan("invert", 10)
    with meter.phase("invert"):
        for _ in range(2):
            now += 2.0
            meter.advance(2)
        meter.revise(change)
        assert reports[-1].done == 4 and reports[-1].total == 10 + change
        assert reports[-1].eta_seconds == pytest.approx(left * 1.0)


def test_units_that_were_done_before_the_plan_knew_of_them_are_not_left_to_do() -> None:
    now = 0.0
    reports: list[Progress] = []
    meter = ProgressMeter({}, reports.append, clock=lambda: now)
    meter.plan("invert", 2)
    with meter.phase("invert"):
        now = 3.0
        meter.advance(3)
        assert reports[-1].eta_seconds == 0
        meter.revise(1)
        assert reports[-1].done == reports[-1].total == 3 and reports[-1].eta_seconds == 0


def test_a_phase_in_the_cache_takes_no_time() -> None:
    now = 0.0
    reports: list[Progress] = []
    meter = ProgressMeter({}, reports.append, clock=lambda: now)
    meter.plan("correspond", {"keyframes": 5})
    meter.plan("correspond", 0)
    meter.plan("edit", {"frames": 2})
    with meter.phase("edit"):
        now = 3.0
        meter.advance(1, "frames")
    assert reports[-1].eta_seconds == pytest.approx(3.0)


def test_reading_frames_says_nothing_about_the_time_left() -> None:
    reports: list[Progress] = []
    meter = ProgressMeter({PHASES[0]: 2}, reports.append)
    with meter.phase(PHASES[0]):
        meter.advance()
    assert all(report.eta_seconds is None for report in reports)


def test_a_cancel_is_heard_at_the_next_unit() -> None:
    meter = ProgressMeter({"edit": 2}, cancelled=lambda: True)
    with pytest.raises(Cancelled), meter.phase("edit"):
        pass
