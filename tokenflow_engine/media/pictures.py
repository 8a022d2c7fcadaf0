"""Pictures and movies that people look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from . import movies

BACKGROUND = (32, 32, 32)
INK = (230, 230, 230)
GAP = 6
"""Pixels between the pictures of a contact sheet."""


def write_png(path: Path, frame: NDArray[np.uint8]) -> None:
    """Write one frame, uint8 (height, width, 3 or 4) RGB or RGBA, as an 8-bit PNG.

    Raises:
        OSError: when the file cannot be written.
    """
    Image.fromarray(frame).save(path, format="PNG", compress_level=4)


def write_numbered(folder: Path, frames: Iterable[NDArray[np.uint8]]) -> Path:
    """Write frames, uint8 (height, width, 3 or 4), as `00000.png` and so on into a folder, which is
    made where it is missing; return it.

    Raises:
        OSError: when a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        write_png(folder / f"{number:05d}.png", frame)
    return folder


def write_movie(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> int:
    """Write frames, uint8 (height, width, 3) RGB, as H.264 4:2:0 (CRF 8); return their number.

    The file appears when it is complete; odd sides are padded by one pixel.

    Raises:
        TokenFlowError: code "no_space" or "internal", when the file cannot be written.
        ValueError: without frames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return movies.write(path, iter(frames), fps)


def contact_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]], labels: Sequence[str], columns: int
) -> NDArray[np.uint8]:
    """Rows of frames below each other, uint8 (height, width, 3), a line of text above each row.

    rows: one sequence of frames each, all of one length; frames of one row are of one size, and a
        row of another size is scaled to the first row's height.
    labels: one line of text for each row.
    columns: at most this many frames of each row, evenly spaced from its first to its last.
    """
    if not rows or not rows[0] or len(labels) != len(rows):
        raise ValueError("a contact sheet needs frames, and one label for each row")
    height, width = rows[0][0].shape[:2]
    chosen = evenly_spaced(len(rows[0]), columns)
    font = ImageFont.load_default(size=max(12, height // 10))
    line = int(font.getbbox("Ay")[3]) + GAP
    sheet = Image.new(
        "RGB",
        (GAP + len(chosen) * (width + GAP), GAP + len(rows) * (line + height + GAP)),
        BACKGROUND,
    )
    draw = ImageDraw.Draw(sheet)
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        top = GAP + number * (line + height + GAP)
        draw.text((GAP, top), label, fill=INK, font=font)
        for column, index in enumerate(chosen):
            picture = Image.fromarray(row[index])
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(picture, (GAP + column * (width + GAP), top + line))
    return np.asarray(sheet)


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices from 0 to `count - 1`, both included, as evenly as whole numbers go.

    One index is the first.
    """
    if wanted >= count:
        return list(range(count))
    return [round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted)]
