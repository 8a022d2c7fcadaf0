"""How long a unit of each kind of work takes, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping

KEYFRAMES, OTHERS, CUTS = "keyframes", "frames", "cuts"
PICTURES, SCORES = "pictures", "scores"
"""Kinds of units within a phase."""

COSTS = {
    "invert": 1.0,
    f"correspond.{KEYFRAMES}": 1.1,
    f"correspond.{OTHERS}": 1.2,
    f"edit.{KEYFRAMES}": 0.8,
    f"edit.{OTHERS}": 0.7,
    f"edit.{CUTS}": 0.8,
    f"decode.{PICTURES}": 1.5,
    f"decode.{SCORES}": 0.8,
}
"""Time of one unit in frames through the UNet: a first guess for what has not been measured yet.
From a run of the embedded model on a CPU (tests/traces)."""

FADING = 0.97
"""Share that a measurement keeps of its weight with each later one of its kind: another program
that takes or frees the processor shows within some dozens of UNet calls."""


class Rates:
    """Seconds for each kind of unit, the latest measurements weighing most."""

    def __init__(self) -> None:
        self._units: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._warm: set[str] = set()
        self._cost = self._cost_seconds = 0.0

    def measure(self, kind: str, units: int, seconds: float) -> None:
        """Note that some units took a time."""
        # The first call of a kind also allocates, compiles and opens files.
        fading = FADING if kind in self._warm else 0.0
        if kind in self._units:
            self._warm.add(kind)
        self._units[kind] = self._units.get(kind, 0.0) * fading + units
        self._seconds[kind] = self._seconds.get(kind, 0.0) * fading + seconds
        if kind in COSTS:
            self._cost = self._cost * FADING + units * COSTS[kind]
            self._cost_seconds = self._cost_seconds * FADING + seconds

    def seconds_for(self, units: Mapping[str, int]) -> float | None:
        """Time that units by kind will take; None before anything of cost is measured.

        A kind that has not been measured is estimated from those that have.
        """
        if not self._cost:
            return None
        base = self._cost_seconds / self._cost
        return sum(count * self._rate(kind, base) for kind, count in units.items() if count)

    def _rate(self, kind: str, base: float) -> float:
        count = self._units.get(kind)
        return self._seconds[kind] / count if count else COSTS.get(kind, 1.0) * base
