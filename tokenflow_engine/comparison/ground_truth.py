"""What is known about a clip besides its pictures, brought to the size of the edit."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..client.errors import TokenFlowError
from ..evaluation.metrics import Mask, Picture
from ..evaluation.optical_flow import SourceFlow, estimated_flow
from ..media.fit import fit_frame
from ..media.frames import probe, read_frames
from .clips import EvaluationClip

FULL = 255
SMALLEST_SHARE = 0.02
"""Less of a picture than this is no region to measure."""


@dataclass(frozen=True)
class GroundTruth:
    """Everything at (width, height) of the edit.

    source, perfect: F pictures; perfect ones where an exact edit is known.
    unchanged: bool (F, H, W), what the edit should leave as it is, or None where that is unknown.
    flow: of the source, exact where the clip has it. exact_flow: whether it has.
    """

    source: Sequence[Picture]
    perfect: Sequence[Picture] | None
    unchanged: Sequence[Mask] | None
    flow: SourceFlow
    exact_flow: bool


def load_ground_truth(clip: EvaluationClip, frame_count: int, size: tuple[int, int]) -> GroundTruth:
    """Read a clip's pictures, truth, masks and flow.

    frame_count: how many frames from the clip's first on. size: (width, height).

    Raises:
        TokenFlowError: where a file is damaged or holds other frames than the clip.
    """
    source = _pictures(clip.source, frame_count, size)
    perfect = None if clip.truth is None else _pictures(clip.truth, frame_count, size)
    flow = _exact_flow(clip, frame_count, size)
    return GroundTruth(
        source=source,
        perfect=perfect,
        unchanged=_unchanged(clip, frame_count, size),
        flow=flow or estimated_flow(source),
        exact_flow=flow is not None,
    )


def _pictures(path: Path, frame_count: int, size: tuple[int, int]) -> list[Picture]:
    if probe(path, frame_count).frame_count < frame_count:
        raise _unfit(path, f"has fewer than the clip's {frame_count} frames")
    return [fit_frame(frame, size) for frame in read_frames(path, 0, frame_count)]


def _unchanged(clip: EvaluationClip, frame_count: int, size: tuple[int, int]) -> list[Mask] | None:
    """The region that the masks file names, or what the class of the edit says: a look changes the
    object alone, a ground all but the object. None where neither tells."""
    if clip.masks is None:
        return None
    arrays = _arrays(clip.masks, frame_count)
    if "unchanged" in arrays:
        regions = [_fitted(m.astype(np.uint8) * FULL, size) >= FULL for m in arrays["unchanged"]]
    elif "masks" in arrays:
        objects = [_fitted(m, size) for m in arrays["masks"].astype(np.uint8)]
        if set(clip.edit) == {"look"}:
            regions = [m == 0 for m in objects]
        elif set(clip.edit) == {"ground"}:
            regions = [m >= FULL for m in objects]
        else:
            return None
    else:
        raise _unfit(clip.masks, 'has no array "masks"')
    regions = regions[:frame_count]
    return regions if np.mean([r.mean() for r in regions]) >= SMALLEST_SHARE else None


def _exact_flow(clip: EvaluationClip, frame_count: int, size: tuple[int, int]) -> SourceFlow | None:
    if clip.flow is None:
        return None
    arrays = _arrays(clip.flow, frame_count - 1)
    if not {"fields", "visible"} <= set(arrays):
        raise _unfit(clip.flow, 'has no arrays "fields" and "visible"')
    fields, visible = arrays["fields"], arrays["visible"]
    height, width = fields.shape[1:3]
    across, down = size[0] / width, size[1] / height
    if not math.isclose(across, down, rel_tol=0.02):
        return None
    scale = np.array([across, down], np.float32)
    pairs = range(frame_count - 1)
    if size == (width, height):
        return SourceFlow([fields[i] for i in pairs], [visible[i] for i in pairs])
    return SourceFlow(
        [np.asarray(cv2.resize(fields[i], size), np.float32) * scale for i in pairs],
        [_fitted(visible[i].astype(np.uint8) * FULL, size) >= FULL for i in pairs],
    )


def _fitted(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask of 255 as the pictures are fitted: what is not all inside stays below 255."""
    return np.asarray(fit_frame(mask, size))


def _arrays(path: Path, frame_count: int) -> Mapping[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unfit(path, "can't be read") from error
    for name, array in arrays.items():
        if array.ndim < 3 or len(array) < frame_count:
            raise _unfit(path, f'holds too few frames in "{name}"')
    return arrays


def _unfit(path: Path, what: str) -> TokenFlowError:
    return TokenFlowError(
        "unreadable_source", f'"{path.name}" {what}.', "Write it again or remove it."
    )
