"""Progress, time and cancellation of one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ..client.errors import Cancelled
from ..client.progress import PHASES, CancelCheck, Progress, ProgressCallback


class ProgressMeter:
    """Counts units of work, reports each, estimates the rest from the rates measured so far.

    planned: units of work for each phase in the order they run. A unit is one frame's UNet call in
        one branch, or what takes about as long; a phase found in the cache has none.
    """

    def __init__(
        self,
        planned: Mapping[str, int],
        report: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._planned = dict(planned)
        self._report = report
        self._cancelled = cancelled
        self._clock = clock
        self._done = 0
        self._phase = ""
        self._started = clock()
        self._rate: float | None = None
        self.seconds: dict[str, float] = {}

    def plan(self, phase: str, units: int) -> None:
        """Say how much a phase that has not begun will take, once that is known."""
        self._planned[phase] = units

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside counts for one phase.

        Raises:
            Cancelled: where the user has cancelled before it begins.
        """
        self._phase, self._done, self._started = name, 0, self._clock()
        self._planned.setdefault(name, 0)
        self._tell()
        try:
            yield
        finally:
            self.seconds[name] = self._clock() - self._started
            self._planned[name] = self._done = 0

    def advance(self, units: int = 1) -> None:
        """Count finished units and report them.

        Raises:
            Cancelled: where the user has cancelled.
        """
        self._done += units
        elapsed = self._clock() - self._started
        if elapsed > 0:
            self._rate = elapsed / self._done
        self._tell()

    def _tell(self) -> None:
        if self._cancelled and self._cancelled():
            raise Cancelled
        if self._report:
            total = max(1, self._planned[self._phase], self._done)
            self._report(Progress(self._phase, self._done, total, self._eta()))

    def _eta(self) -> float | None:
        # Reading frames says nothing about the speed of the UNet.
        if self._rate is None or self._phase == PHASES[0]:
            return None
        return self._rate * max(0, sum(self._planned.values()) - self._done)
