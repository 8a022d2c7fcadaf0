"""Sheets of pictures to look at while the training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Array = NDArray[Any]


def to_bytes(images: Tensor) -> Array:
    """float [N, 3, H, W] in [-1, 1] -> uint8 [N, H, W, 3]."""
    levels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.asarray(levels.permute(0, 2, 3, 1).contiguous().numpy())


def save_rows(path: Path, rows: Sequence[Array]) -> None:
    """Saves rows of equally many uint8 pictures [N, H, W, 3] as one PNG."""
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)
    temporary = path.with_name(f".{path.name}")
    Image.fromarray(sheet).save(temporary, format="PNG")
    temporary.replace(path)
