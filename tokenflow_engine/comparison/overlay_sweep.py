"""How well the edit's share of each pixel follows what a perfect edit changes, over the settings of
`media/compositing.py`: `python -m tokenflow_engine.comparison.overlay_sweep CLIPS [--limit N]`.

Only the region is looked for, nothing is edited.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..client.edit_request import EditRequest
from ..evaluation.metrics import Picture
from ..media.compositing import share_of_edit
from ..phases.cache import PhaseCache
from ..phases.edit_region import find_region
from ..phases.invert import invert_source
from ..phases.meter import ProgressMeter
from ..phases.prepare import prepare
from ..tokenflow.wiring import tokenflow
from .clips import EvaluationClip, read_clips
from .ground_truth import load_ground_truth

Share = Callable[[Picture, NDArray[np.bool_]], NDArray[np.float32]]

CHANGED = 8
"""Grey levels of 255 by which a perfect edit changes a pixel that counts as changed."""


def _cells(source: Picture, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    height, width = source.shape[0] // len(inside), source.shape[1] // inside.shape[1]
    return np.asarray(inside.repeat(height, 0).repeat(width, 1), np.float32)


SETTINGS: dict[str, Share] = {
    "the region's cells alone": _cells,
    **{f"band of {band} cells": partial(share_of_edit, band=band) for band in (1, 2, 3, 4)},
}


def missed_and_spilled(
    share: Share,
    source: Sequence[Picture],
    perfect: Sequence[Picture],
    inside: NDArray[np.bool_],
) -> tuple[float, float]:
    """Of the pixels that a perfect edit changes, how much stays the source's; of the pixels that it
    leaves as they are, how much does not. Both in [0, 1], over all frames; NaN where a perfect edit
    changes every pixel, as light does.

    inside: (F, h, w), the region's cells.
    """
    shares = np.stack([share(*pair) for pair in zip(source, inside, strict=True)])
    apart = np.abs(np.stack(source).astype(np.int16) - np.stack(perfect)).max(-1)
    left = shares[apart == 0]
    return float(1 - shares[apart >= CHANGED].mean()), float(left.mean()) if left.size else math.nan


def table(found: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    """Markdown; for each setting, the means over each class's clips in per cent."""
    kinds = list(dict.fromkeys(kind for kinds in found.values() for kind in kinds))
    lines = ["| setting | " + " | ".join(f"{kind}: missed, spilled" for kind in kinds) + " |"]
    lines.append("|---|" + "---:|" * len(kinds))
    for name, results in found.items():
        means = (100 * np.mean(results[kind], axis=0) for kind in kinds)
        lines.append(f"| {name} | " + " | ".join(f"{m:.1f}, {s:.1f}" for m, s in means) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, help="folder with captions.json")
    parser.add_argument("--limit", type=int, help="only the first N clips")
    parser.add_argument("--steps", type=int, default=16, help="of the inversion")
    options = parser.parse_args()
    found: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: defaultdict(list) for name in SETTINGS
    }
    for clip in read_clips(options.clips)[: options.limit]:
        for name, result in _results(clip, options.steps):
            found[name][clip.kind].append(result)
    print(table(found))


def _results(clip: EvaluationClip, steps: int) -> Iterator[tuple[str, tuple[float, float]]]:
    """Nothing where the whole picture is edited, or the perfect edit is not known."""
    request = EditRequest(
        source=str(clip.source),
        prompt=clip.target_prompt,
        source_prompt=clip.source_prompt,
        output=str(clip.source.with_suffix(".edited")),
        steps=steps,
        inversion_steps=steps,
    )
    with tempfile.TemporaryDirectory(prefix="tokenflow-sweep-") as scratch:
        run = prepare(request.validated(any_words=True), ProgressMeter({}))
        run = replace(run, cache=PhaseCache(Path(scratch)))
        truth = load_ground_truth(clip, run.frame_count, run.size)
        inversion = invert_source(run)
        with tokenflow(run.model.unet) as wiring, torch.inference_mode():
            region = find_region(run, wiring, inversion)
        if region is None or truth.perfect is None:
            return
        inside = region.inside(list(run.frames))
    for name, share in SETTINGS.items():
        yield name, missed_and_spilled(share, truth.source, truth.perfect, inside)


if __name__ == "__main__":
    main()
