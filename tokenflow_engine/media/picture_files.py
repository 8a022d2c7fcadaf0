"""Edited pictures on disk, in the format that was asked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..client.edit_request import PICTURE_SUFFIXES
from . import ffmpeg
from .alpha import OPAQUE

BYTES_PER_CHANNEL = {"png8": 1, "png16": 2, "exr": 2}


def write_picture(
    folder: Path,
    index: int,
    picture_format: str,
    levels: NDArray[np.float32],
    alpha: NDArray[np.uint16] | None,
) -> None:
    """Write picture number `index`.

    picture_format: "png8" or "png16", sRGB with straight alpha, or "exr", half floats with linear
        Rec.709 primaries and associated alpha, as OpenEXR wants it.
    levels: (h, w, 3) RGB, sRGB-encoded, 0 ... 255.
    alpha: (h, w), 0 ... 65535; None writes a picture without.

    Raises:
        OSError: when the file cannot be written.
    """
    path = folder / f"{index:05d}{PICTURE_SUFFIXES[picture_format]}"
    if picture_format == "exr":
        _write_exr(path, levels, alpha)
    elif picture_format == "png16":
        _write_png16(path, levels, alpha)
    else:
        pixels = np.rint(levels).astype(np.uint8)
        if alpha is not None:
            pixels = np.dstack([pixels, np.rint(alpha / 257).astype(np.uint8)])
        Image.fromarray(pixels).save(path, format="PNG", compress_level=4)


def _write_png16(path: Path, levels: NDArray[np.float32], alpha: NDArray[np.uint16] | None) -> None:
    pixels = np.rint(levels[..., ::-1] * 257.0).astype(np.uint16)
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])
    written, encoded = cv2.imencode(".png", pixels)
    if not written:
        raise OSError(f"{path} could not be encoded")
    path.write_bytes(encoded.tobytes())


def _write_exr(path: Path, levels: NDArray[np.float32], alpha: NDArray[np.uint16] | None) -> None:
    height, width = levels.shape[:2]
    values = np.asarray(levels / 255, np.float32)
    channels = [linear(values[..., each]) for each in (1, 2, 0)]
    if alpha is not None:
        share = np.asarray(alpha / OPAQUE, np.float32)
        channels = [*(each * share for each in channels), share]
    planes = np.stack(channels).astype("<f4")
    layout = "gbrpf32le" if alpha is None else "gbrapf32le"
    status, encoded, said = ffmpeg.run(
        [
            # Or ffmpeg would multiply by alpha once more.
            *("-alpha_mode", "premultiplied", "-f", "rawvideo", "-pix_fmt", layout),
            *("-s", f"{width}x{height}", "-i", "pipe:0"),
            *("-frames:v", "1", "-c:v", "exr", "-format", "half", "-compression", "zip16"),
            *("-f", "image2pipe", "pipe:1"),
        ],
        planes.tobytes(),
    )
    if status or not encoded:
        raise OSError(f"{path} could not be encoded: {said[-2000:]}")
    path.write_bytes(encoded)


def linear(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light, 0 ... 1, of sRGB-encoded values (IEC 61966-2-1)."""
    low, high = encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    return np.where(encoded <= 0.04045, low, high).astype(np.float32)
