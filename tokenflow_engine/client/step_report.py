"""What a step says while it runs, for people or for a farm that reads Open Job Description's lines.

Source of the lines: specification "How Jobs Are Run", "Stdout/Stderr Messages".
"""

from __future__ import annotations

import json
import sys
import time

from .errors import TokenFlowError
from .progress import PHASES, Progress

SECONDS_BETWEEN_LINES = 2.0


class StepReport:
    """Prints a line at each new phase, and every few seconds within one.

    openjd: as `openjd_progress` and `openjd_status` lines. quiet: nothing at all.
    """

    def __init__(self, openjd: bool = False, quiet: bool = False) -> None:
        self._openjd = openjd
        self._quiet = quiet
        self._label = ""
        self._phase = ""
        self._printed = self._began = time.monotonic()
        self._share = 0.0

    def begin(self, label: str) -> None:
        """What follows is about this edit."""
        self._label, self._phase = label, ""
        self._began, self._share = time.monotonic(), 0.0

    def progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase == self._phase and now - self._printed < SECONDS_BETWEEN_LINES:
            return
        self._phase, self._printed = progress.phase, now
        left = "" if progress.eta_seconds is None else f", {progress.eta_seconds:.0f} s left"
        name = f"{self._label}: " if self._label else ""
        self.say(f"{name}{progress.phase} {progress.done}/{progress.total}{left}")
        if self._openjd and progress.phase != PHASES[0] and progress.eta_seconds is not None:
            spent = now - self._began
            # A farm's bar must not run backwards when the estimate grows.
            self._share = max(self._share, spent / max(spent + progress.eta_seconds, 1e-9))
            print(f"openjd_progress: {100 * self._share:.1f}", flush=True)

    def say(self, text: str) -> None:
        if not self._quiet:
            print(f"{'openjd_status' if self._openjd else 'tokenflow'}: {text}", flush=True)

    def finish(self, text: str) -> None:
        if self._openjd:
            print("openjd_progress: 100.0", flush=True)
        self.say(text)

    def fail(self, error: TokenFlowError, as_json: bool) -> int:
        """Say cause and remedy to people on standard error, and where farms and scripts look.

        Returns the exit code.
        """
        print(error, file=sys.stderr, flush=True)
        if self._openjd:
            print(f"openjd_fail: {error.message.rstrip('.')}; {error.remedy}", flush=True)
        if as_json:
            print(json.dumps({"error": error.to_json()}), flush=True)
        return error.exit_code
