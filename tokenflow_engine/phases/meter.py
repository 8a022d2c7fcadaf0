"""Progress, time and cancellation of one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ..client.errors import Cancelled
from ..client.progress import PHASES, CancelCheck, Progress, ProgressCallback
from .rates import Rates

Units = int | Mapping[str, int]
"""How much work: a number, or numbers by the kind of work."""


class ProgressMeter:
    """Counts units of work, reports each, estimates the rest from the rates measured so far.

    planned: units of work for each phase in the order they run, by kind where kinds take different
        times. A unit is one frame's UNet call in one branch, or what takes about as long; a phase
        found in the cache has none.
    rates: measured seconds for each kind of unit.
    """

    def __init__(
        self,
        planned: Mapping[str, Units],
        report: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = {phase: _by_kind(phase, units) for phase, units in planned.items()}
        self._report = report
        self._cancelled = cancelled
        self._clock = clock
        self._done = self._total = 0
        self._phase = ""
        self._seen = clock()
        self.rates = Rates()
        self.seconds: dict[str, float] = {}

    def plan(self, phase: str, units: Units) -> None:
        """Say how much a phase will take, once that is known."""
        self._left[phase] = _by_kind(phase, units)
        if phase == self._phase:
            self._total = sum(self._left[phase].values())

    def revise(self, change: int) -> None:
        """Say, and report, by how many units the running phase takes more, or fewer, than planned.

        Raises:
            Cancelled: where the user has cancelled.
        """
        left = self._left.setdefault(self._phase, {})
        kind = _kind(self._phase, "")
        left[kind] = left.get(kind, 0) + change
        self._total += change
        self._tell()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside counts for one phase.

        Raises:
            Cancelled: where the user has cancelled before it begins.
        """
        started = self._clock()
        self._phase, self._done, self._seen = name, 0, started
        self._total = sum(self._left.setdefault(name, {}).values())
        self._tell()
        try:
            yield
        finally:
            self.seconds[name] = self._clock() - started
            self._left[name] = {}
            self._done = 0

    def advance(self, units: int = 1, kind: str = "") -> None:
        """Count finished units of a kind and report them; outside of any phase too.

        Raises:
            Cancelled: where the user has cancelled.
        """
        now = self._clock()
        kind = _kind(self._phase, kind)
        self.rates.measure(kind, units, now - self._seen)
        self._seen = now
        self._done += units
        left = self._left.setdefault(self._phase, {})
        # Below zero where a revision is still to come.
        left[kind] = left.get(kind, 0) - units
        self._tell()

    def _tell(self) -> None:
        if self._cancelled and self._cancelled():
            raise Cancelled
        if self._report:
            total = max(1, self._total, self._done)
            self._report(Progress(self._phase, self._done, total, self._eta()))

    def _eta(self) -> float | None:
        # Reading frames says nothing about the speed of the UNet.
        if self._phase == PHASES[0]:
            return None
        return self.rates.seconds_for(
            {kind: max(0, count) for left in self._left.values() for kind, count in left.items()}
        )


def _by_kind(phase: str, units: Units) -> dict[str, int]:
    if isinstance(units, int):
        return {_kind(phase, ""): units}
    return {_kind(phase, kind): count for kind, count in units.items()}


def _kind(phase: str, kind: str) -> str:
    return f"{phase}.{kind}" if kind else phase
