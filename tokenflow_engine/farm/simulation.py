"""A job on many workers, played through: each worker takes the next task as soon as it is free.

That is what a render farm does with a template whose steps wait for one another; nothing is
assumed of it but that, and that shared storage is fast enough.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from .cost_model import Footage, StepTimes


@dataclass(frozen=True)
class Played:
    """wall, busy: seconds from first to last and added over all workers; steps: wall of each."""

    workers: int
    wall: float
    busy: float
    steps: dict[str, float]

    @property
    def efficiency(self) -> float:
        """Share of the workers' time that they work, [0, 1]."""
        return self.busy / (self.wall * self.workers)


def tasks_of(footage: Footage, times: StepTimes) -> dict[str, list[float]]:
    """Seconds of each step's tasks, without an engine's start."""
    lengths: list[int] = []
    for _shot in range(footage.shots):
        whole, rest = divmod(footage.frames_per_shot, footage.chunk)
        lengths += [footage.chunk] * whole + [rest] * bool(rest)
    size = footage.batches_per_task
    grouped = [sum(lengths[i : i + size]) for i in range(0, len(lengths), size)]
    shot = footage.frames_per_shot
    return {
        "Extract": [times.blender_start + times.extract * shot] * footage.shots,
        "Invert": [times.invert * frames for frames in grouped],
        "Edit": [times.edit * shot] * footage.shots,
        "Assemble": [times.blender_start + times.assemble * footage.shots],
    }


def play(footage: Footage, times: StepTimes, workers: int) -> Played:
    """Run the job on so many workers of one kind."""
    now, busy = 0.0, 0.0
    steps: dict[str, float] = {}
    has_engine: set[int] = set()
    for name, tasks in tasks_of(footage, times).items():
        # (free at, does it lack the engine, worker): warm workers are taken first.
        engine = name in ("Invert", "Edit")
        free = [(now, engine and w not in has_engine, w) for w in range(workers)]
        heapq.heapify(free)
        end = now
        for seconds in tasks:
            at, cold, worker = heapq.heappop(free)
            cost = seconds + (times.engine_start if cold else 0.0)
            if engine:
                has_engine.add(worker)
            busy += cost
            end = max(end, at + cost)
            heapq.heappush(free, (at + cost, False, worker))
        steps[name] = end - now
        now = end
    return Played(workers, now, busy, steps)
