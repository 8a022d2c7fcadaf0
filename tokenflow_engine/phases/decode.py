"""Phase 4: edited latents to pictures, and the file that says how to make them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..diffusion.autoencoder import decode
from ..media.pictures import write_png
from ..tokenflow.keyframes import chunks
from .latent_rows import LatentRows
from .rates import PICTURES
from .run import EditRun

DECODED_AT_ONCE = 4
"""Frames per decoder call: the decoder is the peak of memory."""

EDIT_FILE = "edit.json"


def decode_frames(run: EditRun, latents: LatentRows, folder: Path) -> None:
    """Write `00000.png` ... from latents (F, 4, h, w).

    Raises:
        Cancelled: after the batch in which the user cancelled.
        TokenFlowError: code "no_space", when the disk is full.
    """
    for frames in chunks(run.frames, DECODED_AT_ONCE):
        for frame, picture in zip(frames, decode(run.model, latents[list(frames)]), strict=True):
            write_png(folder / f"{frame:05d}.png", picture)
        run.meter.advance(len(frames), PICTURES)


def write_edit_file(folder: Path, fields: Mapping[str, Any]) -> None:
    """Write `edit.json`."""
    text = json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / EDIT_FILE).write_text(text + "\n", encoding="utf-8")
