"""Smaller calls where memory is short: the same edit in more and smaller pieces.

Frames and branches of a call do not see each other, or only through what an earlier call has left,
so that cutting a call up changes nothing but the order of floating-point sums.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch

from ..client.errors import TokenFlowError, is_out_of_memory

Result = TypeVar("Result")


class MemoryPlan(NamedTuple):
    """How calls are cut up.

    parts: a call's frames are divided among so many calls. branches_apart: the source, the
        unconditional and the conditional branch come one after the other. query_rows: tokens whose
        attention is computed at once, all if None.
    """

    parts: int = 1
    branches_apart: bool = False
    query_rows: int | None = None

    def at_once(self, frames: int) -> int:
        """Frames of one call where `frames` are to be done."""
        return max(1, -(-frames // self.parts))


PLANS = (
    MemoryPlan(),
    MemoryPlan(2, branches_apart=True),
    MemoryPlan(4, branches_apart=True, query_rows=4096),
    MemoryPlan(64, branches_apart=True, query_rows=1024),
)
"""Each needs about half the memory of the one before; the last does a frame at a time."""


@dataclass
class MemoryBudget:
    """The plan of one run, which shrinks when memory runs out and stays small."""

    level: int = 0

    @property
    def plan(self) -> MemoryPlan:
        return PLANS[self.level]

    def attempt(self, work: Callable[[MemoryPlan], Result]) -> Result:
        """What `work` returns under the present plan, or under the next one that suffices.

        work: is called anew after a failure, so it must leave nothing half-done behind.

        Raises:
            TokenFlowError: code "out_of_memory", when the smallest plan fails.
        """
        while True:
            try:
                return work(self.plan)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.level + 1 == len(PLANS):
                    raise TokenFlowError(
                        "out_of_memory",
                        "The edit needs more memory than there is, even one frame at a time.",
                        "Choose a smaller size, or close other programs.",
                        str(error),
                    ) from error
            # Outside of the handler, whose exception keeps the failed call's tensors alive.
            self.level += 1
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def pieces(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """What `work` returns for the slices that the plan cuts `count` frames into.

        Raises:
            TokenFlowError: see `attempt`.
        """

        def every(plan: MemoryPlan) -> list[Result]:
            size = plan.at_once(count)
            return [work(slice(i, min(i + size, count))) for i in range(0, count, size)]

        return self.attempt(every)

    def warnings(self) -> list[str]:
        """What the user should know about it."""
        if not self.level:
            return []
        return [
            "Memory was short, so the edit ran in smaller pieces, which takes longer; "
            "the pictures are the same but for rounding."
        ]


def level_for(free: int, for_one: int, for_two: int, frames: int) -> int:
    """The first of `PLANS` under which a call of `frames` frames and branches fits.

    free: bytes of the device. for_one, for_two: bytes that calls of one and of two took; what they
        have in common does not grow with the batch. The last plan where none fits.
    """
    each = max(0, for_two - for_one)
    shared = max(0, for_one - each)
    for level, plan in enumerate(PLANS):
        if shared + each * plan.at_once(frames) <= free:
            return level
    return len(PLANS) - 1
