"""Folders of numbered pictures, read by Pillow."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..client.errors import TokenFlowError
from .alpha import OPAQUE, over_backdrop

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def is_picture(path: Path) -> bool:
    """Whether the name says that this is one picture."""
    return path.suffix.lower() in SUFFIXES


def numbered_pictures(source: Path) -> list[Path]:
    """The pictures of a folder by ascending number, gaps closed; a picture itself alone.

    Raises:
        TokenFlowError: code "unreadable_source", when there are none, or when their names do not
            form one numbered sequence.
    """
    if source.is_file():
        return [source]
    pictures = [p for p in source.iterdir() if is_picture(p) and not p.name.startswith(".")]
    if not pictures:
        raise _unreadable(
            f'The folder "{source.name}" holds no pictures.',
            f"Choose a folder of numbered pictures ({', '.join(SUFFIXES)}).",
        )
    by_numbers: dict[tuple[int, ...], Path] = {}
    wordings: dict[tuple[str, ...], Path] = {}
    for path in sorted(pictures):
        parts = re.split(r"(\d+)", path.stem)
        numbers = tuple(int(n) for n in parts[1::2])
        wordings.setdefault(tuple(parts[0::2]), path)
        if not numbers and len(pictures) > 1:
            raise _unreadable(
                f'"{path.name}" has no number, so its place in the sequence is unknown.',
                "Number the picture or move it elsewhere.",
            )
        if len(wordings) > 1:
            raise _unreadable(
                f'The folder "{source.name}" holds more than one sequence: '
                f"{' and '.join(p.name for p in wordings.values())}.",
                "Give each sequence a folder of its own.",
            )
        if numbers in by_numbers:
            raise _unreadable(
                f'"{by_numbers[numbers].name}" and "{path.name}" have the same number.',
                "Keep one of them.",
            )
        by_numbers[numbers] = path
    return [by_numbers[numbers] for numbers in sorted(by_numbers)]


def common_size(pictures: list[Path]) -> tuple[int, int]:
    """(width, height) in pixels, the same for every picture; only headers are read.

    Raises:
        TokenFlowError: code "unreadable_source", for a damaged picture or one of another size.
    """
    size: tuple[int, int] | None = None
    for path in pictures:
        try:
            with Image.open(path) as picture:
                this = picture.size
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise _damaged(path, error) from error
        size = size or this
        if this != size:
            raise _unreadable(
                f'"{path.name}" has {this[0]}x{this[1]} pixels, but "{pictures[0].name}" has '
                f"{size[0]}x{size[1]}.",
                "Bring all pictures to one size.",
            )
    assert size is not None
    return size


def read_picture(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 (height, width, 3) of one picture; 16 bits are rounded to 8, a transparent one
    lies over the backdrop.

    Raises:
        TokenFlowError: code "unreadable_source", when it is damaged or not `size` (width, height).
    """
    try:
        with Image.open(path) as picture:
            pixels = _rgb(picture, path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error
    if pixels.shape != (size[1], size[0], 3):
        raise _damaged(path, ValueError(f"{pixels.shape} instead of {size}"))
    return pixels


def read_alpha(path: Path) -> NDArray[np.uint16] | None:
    """Alpha of one picture, (height, width), 0 ... 65535; None where all of it is opaque.

    Raises:
        TokenFlowError: code "unreadable_source", when it is damaged.
    """
    try:
        with Image.open(path) as picture:
            if not _has_alpha(picture):
                return None
            if _is_deep(picture):
                alpha = _deep(path)[..., 3]
            else:
                alpha = np.asarray(picture.convert("RGBA"))[..., 3].astype(np.uint16) * 257
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error
    return None if alpha.min() == OPAQUE else alpha


def _rgb(picture: Image.Image, path: Path) -> NDArray[np.uint8]:
    if picture.mode.startswith("I;16"):
        return _eight_bits(np.repeat(np.asarray(picture)[..., None], 3, axis=2))
    if _is_deep(picture):
        deep = _eight_bits(_deep(path))
        return over_backdrop(deep) if deep.shape[2] == 4 else deep
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {picture.mode}")
    if _has_alpha(picture):
        return over_backdrop(np.asarray(picture.convert("RGBA")))
    return np.asarray(picture.convert("RGB"))


def _has_alpha(picture: Image.Image) -> bool:
    return picture.has_transparency_data


def _is_deep(picture: Image.Image) -> bool:
    """Whether the file has 16 bits a sample, of which Pillow would keep only the upper 8."""
    return any(";16" in str(tile[3]) for tile in getattr(picture, "tile", ()))


def _deep(path: Path) -> NDArray[np.uint16]:
    """(height, width, 3 or 4) of a picture of 16 bits a sample."""
    # Given as bytes, since OpenCV opens no names beyond the system's code page.
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("no 16 bits")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]], np.uint16)


def _eight_bits(deep: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _damaged(path: Path, error: Exception) -> TokenFlowError:
    return TokenFlowError(
        "unreadable_source",
        f'The picture "{path.name}" cannot be read.',
        "Check that the file is complete and opens elsewhere.",
        str(error),
    )


def _unreadable(message: str, remedy: str) -> TokenFlowError:
    return TokenFlowError("unreadable_source", message, remedy)
