"""Seconds of the wall clock and of the processors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..phases.resources import finish

Result = TypeVar("Result")


@dataclass
class Seconds:
    """wall: of the clock. cpu: of all threads of this process; other programs don't count there."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, times: float) -> Seconds:
        return Seconds(self.wall * times, self.cpu * times)

    def to_json(self) -> dict[str, float]:
        return {"wall": round(self.wall, 4), "cpu": round(self.cpu, 4)}


@contextmanager
def timed(device: torch.device) -> Iterator[Seconds]:
    """Seconds that the block takes, known at its end."""
    seconds = Seconds()
    finish(device)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield seconds
    finally:
        finish(device)
        seconds.wall = time.perf_counter() - wall
        seconds.cpu = time.process_time() - cpu


def time_of(work: Callable[[], Result], device: torch.device) -> tuple[Result, Seconds]:
    """What `work` returns, and how long it took."""
    with timed(device) as seconds:
        result = work()
    return result, seconds
