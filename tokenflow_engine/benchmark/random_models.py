"""Models without training: a UNet of full size is timed as well with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from ..diffusion.model import DiffusionModel
from ..diffusion.schedule import NoiseSchedule

TEXT_TOKENS = 77
NATIVE_SIZE = 512


def random_sd15(device: torch.device, dtype: torch.dtype) -> DiffusionModel:
    """Stable Diffusion 1.5's UNet (320 channels, 860 million parameters) with random weights.

    It has no autoencoder and no text encoder: only passes of the UNet can be timed.
    """
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(sample_size=NATIVE_SIZE // 8, cross_attention_dim=768)
    unet = unet.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    torch.manual_seed(0)
    for name, weights in unet.named_parameters():
        if weights.dim() > 1:
            weights.normal_(std=0.02)
        else:
            weights.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )
    return DiffusionModel(
        folder=Path("random"),
        unet=unet,
        vae=None,
        text_encoder=None,
        tokenizer=None,
        schedule=NoiseSchedule.of(scheduler),
        device=device,
        dtype=dtype,
        vae_dtype=dtype,
        fingerprint="random weights of Stable Diffusion 1.5's size",
        native_size=NATIVE_SIZE,
    )


def random_embedding(model: DiffusionModel) -> Tensor:
    """(1, L, C) in place of a prompt's."""
    channels = int(model.unet.config.cross_attention_dim)
    return torch.randn(1, TEXT_TOKENS, channels, device=model.device, dtype=model.dtype)
