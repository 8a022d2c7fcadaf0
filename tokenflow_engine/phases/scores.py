"""How steady an edit is beside its source, from neighbouring frames."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from ..evaluation import metrics
from ..evaluation.metrics import finite_mean, pair_warp_error
from ..evaluation.optical_flow import estimated_flow
from ..media.frames import Frame
from .rates import SCORES
from .run import EditRun

WARP_ERROR = "warp_error"
SOURCE_WARP_ERROR = "source_warp_error"


def score_units(run: EditRun) -> int:
    """Pairs of frames to look at."""
    return run.frame_count - 1


def scores_of(run: EditRun, edited: Iterable[Frame]) -> dict[str, float]:
    """Warp errors of the edited frames and of their source along the source's estimated flow.

    Two frames of each are held at a time. Empty where no point is seen in two frames.

    Raises:
        Cancelled: after the pair in which the user cancelled.
    """
    errors: dict[str, list[float]] = {WARP_ERROR: [], SOURCE_WARP_ERROR: []}
    for (first, second), (first_edited, second_edited) in zip(
        pairwise(run.read()), pairwise(edited), strict=True
    ):
        flow = estimated_flow([first, second])
        along = flow.fields[0], flow.visible[0]
        errors[WARP_ERROR].append(pair_warp_error(first_edited, second_edited, *along))
        errors[SOURCE_WARP_ERROR].append(pair_warp_error(first, second, *along))
        run.meter.advance(kind=SCORES)
    means = {name: finite_mean(values) for name, values in errors.items()}
    return {name: round(mean, 3) for name, mean in means.items() if math.isfinite(mean)}


def stability(scores: dict[str, float]) -> str:
    """The scores in one sentence; empty where there are none."""
    if WARP_ERROR not in scores or SOURCE_WARP_ERROR not in scores:
        return ""
    words = metrics.stability(scores[WARP_ERROR], scores[SOURCE_WARP_ERROR])
    return f"{words[:1].upper()}{words[1:]}."
