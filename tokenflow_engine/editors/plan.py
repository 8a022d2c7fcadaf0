"""The denoising steps of one edit and what is injected in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..client.edit_request import EditRequest


@dataclass(frozen=True)
class EditPlan:
    """timesteps: descending, one for each denoising step.
    attention_steps, feature_steps: in how many of the first steps the source's queries and keys,
        or its features, are injected.
    """

    timesteps: tuple[int, ...]
    attention_steps: int = 0
    feature_steps: int = 0

    def injects_attention(self, step: int) -> bool:
        return step < self.attention_steps

    def injects_features(self, step: int) -> bool:
        return step < self.feature_steps

    def injects(self, step: int) -> bool:
        """Whether a step takes anything out of the source."""
        return step < max(self.attention_steps, self.feature_steps)


Editor = Callable[[EditRequest, tuple[int, ...]], EditPlan]
"""(request, all descending timesteps) -> plan."""
