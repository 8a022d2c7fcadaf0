"""Frames to latents and back through the model's variational autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .model import DiffusionModel


def encode(model: DiffusionModel, frames: np.ndarray) -> Tensor:
    """Latents (n, 4, H/8, W/8), the posterior's mean times the scaling factor.

    frames: (n, H, W, 3) uint8, RGB. The mean instead of a draw keeps the source's exact content
    and makes a run repeatable.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(model.device)
    pixels = pixels.permute(0, 3, 1, 2).to(model.vae_dtype) / 127.5 - 1
    with torch.inference_mode():
        mean = model.vae.encode(pixels).latent_dist.mean
    return mean.to(model.latent_dtype) * model.vae.config.scaling_factor


def decode(model: DiffusionModel, latents: Tensor) -> np.ndarray:
    """Frames (n, H, W, 3) uint8, RGB, from latents (n, 4, H/8, W/8)."""
    return np.rint(decode_levels(model, latents)).astype(np.uint8)


def decode_levels(model: DiffusionModel, latents: Tensor, *, tiny: bool = False) -> np.ndarray:
    """Frames (n, H, W, 3) float32, RGB, unrounded grey levels 0 ... 255, from (n, 4, H/8, W/8).

    tiny: by the model's `tiny_vae`, which it must have.
    """
    vae: Any = model.tiny_vae if tiny else model.vae
    latents = latents.to(model.device, model.vae_dtype) / vae.config.scaling_factor
    with torch.inference_mode():
        pixels = vae.decode(latents).sample
    pixels = (pixels.float().clamp(-1, 1) + 1) * 127.5
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
