"""Phase 4: edited latents to pictures of the source's resolution.

And the file that says how to make them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..diffusion.autoencoder import decode_levels
from ..media.alpha import without_backdrop
from ..media.compositing import composite, sharpened
from ..media.fit import edited_part, resample, result_size
from ..media.picture_files import write_picture
from ..media.stills import numbered_pictures, read_alpha
from ..tokenflow.keyframes import chunks
from .beside import writing_behind
from .edit_region import EditRegion
from .latent_rows import LatentRows
from .rates import PICTURES
from .run import EditRun
from .steadying import steadied

DECODED_AT_ONCE = 4
"""Frames per decoder call: the decoder is the peak of memory."""

EDIT_FILE = "edit.json"


def size_of_result(run: EditRun) -> tuple[int, int]:
    """(width, height) in pixels of the pictures that are written."""
    if run.request.result_size == "edit":
        return run.size
    source = run.source.width, run.source.height
    return result_size(source, run.size, asked_for=run.request.size is not None)


def decode_frames(
    run: EditRun, latents: LatentRows, region: EditRegion | None, folder: Path
) -> Iterator[np.ndarray]:
    """Write `00000.png` ... from latents (F, 4, h, w); yield each frame as it was edited.

    What is yielded, (H, W, 3) uint8 RGB, has the size of the edit; what is written has the
    result's, and the source's alpha.

    Raises:
        Cancelled: after the frame in which the user cancelled.
        TokenFlowError: code "no_space", when the disk is full.
    """
    size = size_of_result(run)
    pictures = numbered_pictures(Path(run.request.source)) if run.source.kind == "images" else []
    with writing_behind() as write_behind:
        for frame, levels in enumerate(edited_levels(run, latents, region)):
            original = pictures[run.source_numbers[frame]] if pictures else None
            write_behind(partial(_write, run, folder, frame, levels, original, size))
            yield np.rint(levels).astype(np.uint8)
            run.meter.advance(1, PICTURES)


def edited_levels(
    run: EditRun, latents: LatentRows, region: EditRegion | None
) -> Iterator[np.ndarray]:
    """The edit's pictures, float32 (H, W, 3) from 0 to 255, from latents (F, 4, h, w).

    Steadied as asked; outside of the edit's region they are the source's own.
    """
    parts = [list(some) for some in chunks(run.frames, DECODED_AT_ONCE)]
    levels: Iterator[np.ndarray] = (
        level for frames in parts for level in _decoded(run, latents[frames])
    )
    radius = run.request.steady_radius
    if region is not None:
        shares = (share for frames in parts for share in region.shares(frames))
        levels = map(np.dstack, zip(levels, shares, strict=True))
    if radius:
        levels = steadied(levels, run.read(), radius)
    if region is None:
        return levels
    # Laid over last, so that the source's pixels are not averaged.
    return (
        composite(source, planes[..., :3], sharpened(planes[..., 3]) if radius else planes[..., 3])
        for source, planes in zip(run.read(), levels, strict=True)
    )


def _decoded(run: EditRun, rows: Tensor) -> Iterator[np.ndarray]:
    def picture(piece: slice) -> np.ndarray:
        return decode_levels(run.model, rows[piece], tiny=run.decodes_tiny)

    pieces = run.memory.pieces(len(rows), picture)
    return chain.from_iterable(pieces)


def _write(
    run: EditRun,
    folder: Path,
    frame: int,
    levels: np.ndarray,
    original: Path | None,
    size: tuple[int, int],
) -> None:
    alpha = None if original is None else _alpha_of_result(run, original, size)
    if size != run.size:
        planes = [resample(levels[..., channel], size) for channel in range(3)]
        levels = np.clip(np.stack(planes, axis=2), 0, 255)
    if alpha is not None:
        levels = without_backdrop(levels, alpha)
    write_picture(folder, frame, run.request.picture_format, levels, alpha)


def _alpha_of_result(run: EditRun, picture: Path, size: tuple[int, int]) -> np.ndarray | None:
    """The source's alpha, (h, w) 0 ... 65535, to the bit where the result has its size."""
    alpha = read_alpha(picture)
    whole = alpha is None or alpha.shape == (size[1], size[0])
    if alpha is None or whole:
        return alpha
    box = edited_part((run.source.width, run.source.height), run.size)
    fitted = resample(alpha.astype(np.float32), size, box)
    return np.rint(np.clip(fitted, 0, 65535)).astype(np.uint16)


def write_edit_file(folder: Path, fields: Mapping[str, Any]) -> None:
    """Write `edit.json`."""
    text = json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / EDIT_FILE).write_text(text + "\n", encoding="utf-8")
