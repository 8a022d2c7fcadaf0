"""Edits without propagation: every frame goes through the UNet in every step."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..diffusion.schedule import add_noise
from ..phases.invert import Inversion
from ..phases.run import EditRun
from ..tokenflow.wiring import tokenflow
from .passes import SparseCausalAttention

TUNED = (".attn1.to_q.weight", ".attn2.to_q.weight")
"""Tune-A-Video's choice: the projections to queries (its section 4.2); it has temporal attention
layers besides, which a UNet for pictures lacks."""

TUNING_RATE = 1e-4


def tuned_on(run: EditRun, inversion: Inversion, steps: int, seed: int) -> EditRun:
    """The same run with a UNet of its own, tuned to denoise the clip under the source prompt.

    steps: of AdamW, each on all frames at one random timestep. seed: draws timesteps and noise.
    The run's own UNet is left alone.
    """
    model = run.model
    unet: Any = nn.Module.float(copy.deepcopy(model.unet))
    tuned = [p for name, p in unet.named_parameters() if name.endswith(TUNED)]
    for parameter in tuned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(tuned, lr=TUNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    clean = inversion.clean(slice(None)).float()
    # A tensor made in inference mode cannot take part in a gradient.
    embeddings = run.source_embedding.float().clone().expand(len(clean), -1, -1)
    with tokenflow(unet) as wiring, torch.enable_grad():
        for _ in range(steps):
            timestep = int(
                torch.randint(len(model.schedule.alphas_cumprod), (), generator=generator)
            )
            noise = torch.randn(clean.shape, generator=generator).to(clean.device)
            noisy = add_noise(clean, noise, model.schedule.level(timestep))
            alone = SparseCausalAttention(1, False, False, False, frozenset())
            output = wiring.run(alone, noisy, timestep, embeddings)
            loss = (model.schedule.noise(output, noisy, timestep) - noise).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    unet.requires_grad_(False)
    return replace(run, model=replace(model, unet=nn.Module.to(unet, model.dtype)))
