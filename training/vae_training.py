"""Training of the autoencoder on crops of rendered pictures."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from .autoencoder import colour_start, make_autoencoder, normalise_latents
from .pictures import Pictures
from .plan import Plan
from .sheets import save_rows, to_bytes
from .state import load_checkpoint, log, save_checkpoint
from .workers import Worker

Array = NDArray[Any]
STAGE = 1
"""Keeps the random draws of the stages apart."""


def to_model(images: Array) -> Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1]."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return tensor.contiguous(memory_format=torch.channels_last)


def load_autoencoder(plan: Plan, state: Path) -> AutoencoderKL:
    """The finished autoencoder. Raises FileNotFoundError before it is trained to its end."""
    checkpoint = load_checkpoint(state / "autoencoder.pt")
    if checkpoint is None:
        raise FileNotFoundError("There is no finished autoencoder yet: run `vae` first.")
    vae = make_autoencoder(plan.vae_channels, plan.size)
    vae.load_state_dict(checkpoint["weights"])
    return vae.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def random_crops(pictures: Pictures, plan: Plan, rng: np.random.Generator, side: int) -> Tensor:
    """Square crops of random scale and mirroring, shrunk to `side` pixels."""
    crops = []
    for index in rng.integers(plan.held_out, len(pictures), plan.vae_batch):
        image = pictures[int(index)]
        if rng.random() < 0.5:
            image = image[:, ::-1]
        span = int(rng.integers(min(side, plan.size), plan.size + 1))
        top, left = rng.integers(0, plan.size - span + 1, 2)
        crop = Image.fromarray(np.ascontiguousarray(image[top : top + span, left : left + span]))
        crops.append(np.asarray(crop.resize((side, side), Image.Resampling.BOX)))
    return to_model(np.stack(crops))


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 and squared error, local means, colour differences and edges.

    The colour terms keep the two chroma axes alive, which brightness would otherwise drown.
    """
    error = output - target
    chroma = torch.stack(
        [error[:, 0] - error[:, 1], error[:, 2] - 0.5 * (error[:, 0] + error[:, 1])], 1
    )
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    return (
        error.abs().mean()
        + 0.5 * error.square().mean()
        + 1.5 * functional.avg_pool2d(error, 4).abs().mean()
        + chroma.abs().mean()
        + 1.5 * functional.avg_pool2d(chroma, 4).square().mean()
        + 0.35 * (across.abs().mean() + down.abs().mean())
    )


def step_loss(vae: AutoencoderKL, crops: Tensor, step: int, plan: Plan) -> Tensor:
    """Every fourth step decodes shrunken latents to the shrunken picture (EQ-VAE), which makes
    the latents smooth and easier to generate."""
    posterior = vae.encode(crops).latent_dist
    latents, target = posterior.sample(), crops
    if step % 4 == 3:
        side = crops.shape[-1] * (2 if step % 8 == 3 else 3) // 4 // 8 * 8
        shrink = {"mode": "bilinear", "antialias": True}
        latents = functional.interpolate(latents, size=(side // 8, side // 8), **shrink)
        target = functional.interpolate(crops, size=(side, side), **shrink)
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).sum(1).mean()
    return reconstruction_loss(vae.decode(latents).sample, target) + plan.kl_weight * kl / 4


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Array) -> tuple[Array, Tensor]:
    """Round trip of uint8 pictures [N, H, W, 3], and their latents [N, 4, H/8, W/8]."""
    latents = torch.cat([vae.encode(to_model(part)).latent_dist.mean for part in _parts(images)])
    decoded = [to_bytes(vae.decode(part).sample) for part in latents.split(8)]
    return np.concatenate(decoded), latents


def _parts(images: Array) -> list[Array]:
    return [images[start : start + 8] for start in range(0, len(images), 8)]


def psnr(one: Array, other: Array) -> float:
    """Mean peak signal-to-noise ratio in dB over uint8 pictures [N, H, W, 3]."""
    error = ((one.astype(np.float32) - other.astype(np.float32)) ** 2).mean((1, 2, 3))
    return float((10 * np.log10(255**2 / np.maximum(error, 1e-6))).mean())


def train_autoencoder(worker: Worker, plan: Plan, state: Path) -> None:
    """Trains until `plan.vae_steps` steps have been made, over any number of runs."""
    path = state / "vae.pt"
    pictures = Pictures(plan, state, plan.first_pictures)
    held_out = pictures.batch(range(16))
    torch.manual_seed(plan.seed)
    vae = make_autoencoder(plan.vae_channels, plan.size).to(memory_format=torch.channels_last)
    checkpoint = load_checkpoint(path)
    if checkpoint is None:
        colour_start(vae, to_model(pictures.batch(range(24, 48))))
    else:
        vae.load_state_dict(checkpoint["weights"])
    average = make_autoencoder(plan.vae_channels, plan.size).to(memory_format=torch.channels_last)
    average.load_state_dict(checkpoint["average"] if checkpoint else vae.state_dict())
    parameters, averaged = list(vae.parameters()), list(average.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=plan.vae_rate, betas=(0.9, 0.98), weight_decay=1e-4
    )
    step, seconds = 0, 0.0
    if checkpoint:
        optimizer.load_state_dict(checkpoint["optimizer"])
        step, seconds = checkpoint["step"], checkpoint["seconds"]
    begun = time.monotonic() - seconds
    saved = time.monotonic()
    losses: list[float] = []

    def keep() -> None:
        done = reconstruct(average, held_out)
        row = {
            "step": step,
            "seconds": round(time.monotonic() - begun),
            "loss": float(np.mean(losses)) if losses else 0.0,
            "psnr": psnr(done[0], held_out),
        }
        deviations = done[1].std((0, 2, 3)).tolist()
        log(state / "vae.csv", row | {f"deviation_{i}": d for i, d in enumerate(deviations)})
        save_rows(state / "vae.png", [held_out[:8], done[0][:8]])
        losses.clear()
        save_checkpoint(
            path,
            {
                "weights": vae.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seconds": time.monotonic() - begun,
            },
        )

    while step < plan.vae_steps:
        rng = np.random.default_rng((plan.seed, STAGE, step, worker.rank))
        torch.manual_seed(int(rng.integers(1 << 60)))
        side = plan.vae_large_crop if step % 4 == 3 else plan.vae_crop
        loss = step_loss(vae, random_crops(pictures, plan, rng, side), step, plan)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        stop = worker.average_gradients(parameters)
        fall = 0.5 * (1 + math.cos(math.pi * step / plan.vae_steps))
        for group in optimizer.param_groups:
            group["lr"] = plan.vae_rate * min(1, (step + 5) / 60) * (0.98 * fall + 0.02)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            decay = min(0.998, (step + 1) / (step + 20))
            torch._foreach_lerp_(averaged, parameters, 1 - decay)
        losses.append(loss.item())
        stop = stop or step == plan.vae_steps
        if worker.is_first and (stop or time.monotonic() - saved > plan.checkpoint_seconds):
            keep()
            saved = time.monotonic()
        if stop:
            return


def finish_autoencoder(plan: Plan, state: Path) -> None:
    """Writes the moving average with normalised latents, once all steps have been made.

    From here on the latents are fixed: the UNet is trained on them.
    """
    checkpoint = load_checkpoint(state / "vae.pt")
    if is_trained(state) or checkpoint is None or checkpoint["step"] < plan.vae_steps:
        return
    vae = make_autoencoder(plan.vae_channels, plan.size)
    vae.load_state_dict(checkpoint["average"])
    pictures = Pictures(plan, state, plan.first_pictures)
    count = min(plan.held_out + 480, len(pictures))
    chosen = pictures.batch(range(plan.held_out, count))
    normalise_latents(vae, [to_model(part) for part in _parts(chosen)])
    save_checkpoint(state / "autoencoder.pt", {"weights": vae.state_dict()})


def is_trained(state: Path) -> bool:
    """Whether the autoencoder is finished."""
    return (state / "autoencoder.pt").exists()
