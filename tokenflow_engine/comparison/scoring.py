"""The metrics of one outcome."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..client.embedded_words import ATTRIBUTES
from ..evaluation.attributes import AttributeReader
from ..evaluation.metrics import (
    Picture,
    finite_mean,
    flow_agreement,
    psnr,
    ssim,
    warp_error,
)
from ..evaluation.optical_flow import estimated_flow
from .clips import EvaluationClip
from .ground_truth import GroundTruth
from .similarity import Similarity, attributes_of


@dataclass(frozen=True)
class Metric:
    """title, unit: as tables show them. better: which end is good. digits: after the point."""

    title: str
    unit: str
    better: str
    digits: int = 2


METRICS: dict[str, Metric] = {
    "edit_success": Metric("Edit success", "share", "higher"),
    "kept_attributes": Metric("Kept attributes", "share", "higher"),
    "warp_error": Metric("Warp error", "grey levels", "lower"),
    "warp_error_excess": Metric("Warp error over VAE", "grey levels", "lower"),
    "background_psnr": Metric("Background PSNR", "dB", "higher", 1),
    "background_ssim": Metric("Background SSIM", "", "higher", 3),
    "truth_psnr": Metric("PSNR to truth", "dB", "higher", 1),
    "reconstruction_psnr": Metric("Reconstruction PSNR", "dB", "higher", 1),
    "text_alignment": Metric("Text alignment", "", "higher", 3),
    "frame_consistency": Metric("Frame consistency", "", "higher", 4),
    "flow_agreement": Metric("Flow agreement", "share", "higher"),
    "seconds_per_frame": Metric("Seconds a frame", "s", "lower"),
    "peak_memory_mb": Metric("Peak memory", "MiB", "lower", 0),
}
"""In the order of the tables; docs/evaluation.md defines them."""


@dataclass(frozen=True)
class Judges:
    """reader: None where no clip is of the toy world. similarity: None where nothing can judge."""

    reader: AttributeReader | None
    similarity: Similarity | None


def score(
    frames: Sequence[Picture], clip: EvaluationClip, truth: GroundTruth, judges: Judges
) -> dict[str, float]:
    """Everything that the pictures alone decide; NaN for what does not apply to the clip."""
    scores = {
        "warp_error": warp_error(frames, truth.flow),
        "flow_agreement": flow_agreement(estimated_flow(frames), truth.flow),
        "truth_psnr": math.nan,
        "background_psnr": math.nan,
        "background_ssim": math.nan,
    }
    if truth.perfect is not None:
        scores["truth_psnr"] = mean_psnr(frames, truth.perfect)
    if truth.unchanged is not None:
        triples = list(zip(frames, truth.source, truth.unchanged, strict=True))
        scores["background_psnr"] = finite_mean(psnr(a, b, m) for a, b, m in triples)
        scores["background_ssim"] = finite_mean(ssim(a, b, m) for a, b, m in triples if m.any())
    similarity = judges.similarity
    for name in ("text_alignment", "frame_consistency"):
        scores[name] = math.nan
    if similarity is not None:
        scores["text_alignment"] = similarity.text_alignment(frames, clip.target_prompt)
        scores["frame_consistency"] = similarity.frame_consistency(frames)
    return scores | _attributes(frames, clip, judges.reader)


def mean_psnr(frames: Sequence[Picture], others: Sequence[Picture]) -> float:
    """Mean over the frames of PSNR in dB."""
    return finite_mean(psnr(a, b) for a, b in zip(frames, others, strict=True))


def is_readable(clip: EvaluationClip) -> bool:
    """Whether the attribute classifier knows what the edit asks for."""
    return bool(clip.edit) and all(
        value in ATTRIBUTES.get(name, ()) for name, value in clip.edit.items()
    )


def _attributes(
    frames: Sequence[Picture], clip: EvaluationClip, reader: AttributeReader | None
) -> dict[str, float]:
    scores = {"edit_success": math.nan, "kept_attributes": math.nan}
    if reader is None or not is_readable(clip):
        return scores
    read = reader.read(frames)
    success = [all(seen[name] == value for name, value in clip.edit.items()) for seen in read]
    scores["edit_success"] = float(np.mean(success))
    others = {k: v for k, v in attributes_of(clip.target_prompt).items() if k not in clip.edit}
    kept = [seen[name] == value for seen in read for name, value in others.items()]
    if kept:
        scores["kept_attributes"] = float(np.mean(kept))
    return scores
