"""Fresh noise for another attempt at the same edit."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def varied(noise: Tensor, variation: float, seed: int) -> Tensor:
    """Noise (n, 4, h, w) with a share of fresh noise in it; its variance stays 1.

    variation: in [0, 1], how far to turn from the given noise (0) to the fresh one (1).
    seed: draws the fresh noise, (1, 4, h, w), which all frames of a clip share, so that they go on
        together.
    """
    if variation == 0:
        return noise
    generator = torch.Generator().manual_seed(seed)
    fresh = torch.randn((1, *noise.shape[1:]), generator=generator).to(noise)
    angle = variation * math.pi / 2
    return math.cos(angle) * noise + math.sin(angle) * fresh
