"""Training of the UNet and the text encoder on latents."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTokenizer

from tokenflow_engine.client.embedded_words import PATTERNS
from tokenflow_engine.toyworld import ATTRIBUTES, full_caption, random_caption

from .denoiser import TIMESTEPS, Denoiser, make_schedule
from .latents import Latents, LatentSet, load_latents
from .pictures import scene_of_codes
from .plan import Plan, value_at
from .samples import save_samples
from .state import load_checkpoint, log, save_checkpoint
from .tokenizer import load_tokenizer
from .workers import Worker

Array = NDArray[Any]
STAGE = 2
"""Keeps the random draws of the stages apart."""
VALIDATED = 64
"""Held-out pictures that the validation loss is measured on."""


@dataclass(frozen=True)
class Batch:
    """noisy, noise: float32 [B, 4, h, w]; masks [B, 1, h, w]; timesteps [B]; tokens [B, T]."""

    noisy: Tensor
    noise: Tensor
    masks: Tensor
    timesteps: Tensor
    tokens: Tensor


class Captions:
    """Captions of pictures as token ids."""

    def __init__(self, plan: Plan, tokenizer: CLIPTokenizer, attributes: Array) -> None:
        self._plan = plan
        self._scenes = [scene_of_codes(codes) for codes in attributes]

        @cache
        def encode(caption: str) -> list[int]:
            return list(
                tokenizer(
                    caption, padding="max_length", truncation=True, max_length=plan.text_tokens
                ).input_ids
            )

        self._encode = encode

    def random(self, indices: Array, rng: np.random.Generator) -> Tensor:
        """int64 [B, T]: full, partial or (for guidance) empty captions."""
        plan, rows = self._plan, []
        for index in indices:
            is_dropped = rng.random() < plan.dropped_captions
            scene = self._scenes[int(index)]
            caption = random_caption(scene, rng, full_share=plan.full_captions)
            rows.append(self._encode("" if is_dropped else caption))
        return torch.tensor(rows)

    def full(self, indices: Array) -> Tensor:
        """int64 [B, T]: full captions."""
        return torch.tensor([self._encode(full_caption(self._scenes[int(i)])) for i in indices])


def draw_timesteps(count: int, power: float, rng: np.random.Generator) -> Tensor:
    """Stratified timesteps 1000 u^power, in random order."""
    even = (rng.permutation(count) + rng.random(count)) / count
    return torch.from_numpy((even**power * TIMESTEPS).astype(np.int64)).clamp(0, TIMESTEPS - 1)


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """sqrt(a) x + sqrt(1 - a) noise, with a the cumulative alpha at each timestep."""
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def weighted_loss(
    predicted: Tensor, batch: Batch, alphas: Tensor, *, object_weight: float, snr_limit: float
) -> Tensor:
    """Squared error of the noise, heavier on the object, with min-SNR weights over timesteps."""
    weight = 1 + (object_weight - 1) * batch.masks
    error = (predicted - batch.noise).square().mean(1, keepdim=True)
    each = (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    snr = alphas[batch.timesteps] / (1 - alphas[batch.timesteps])
    balance = snr.clamp(max=snr_limit) / snr
    return (each * balance).sum() / balance.sum()


def shares_of_pictures(attributes: Array, held_out: int, pattern_weight: float) -> Array:
    """How often each picture is drawn, (N,) with sum 1: held-out ones never, patterned ones
    `pattern_weight` times more often than the others.

    attributes: a picture's values by their numbers, (N, 4).
    """
    looks = attributes[:, list(ATTRIBUTES).index("look")]
    patterned = np.isin(looks, [ATTRIBUTES["look"].index(name) for name in PATTERNS])
    shares = np.where(patterned, pattern_weight, 1.0)
    shares[:held_out] = 0
    return np.asarray(shares / shares.sum())


def make_batch(
    latents: Latents,
    captions: Captions,
    plan: Plan,
    rng: np.random.Generator,
    *,
    seen: int,
    is_large: bool,
) -> Batch:
    """A random training batch of one worker, after `seen` samples."""
    count = plan.large_batch if is_large else plan.small_batch
    alphas = make_schedule().alphas_cumprod
    weight = value_at(plan.pattern_weight, seen)
    shares = shares_of_pictures(latents.attributes, plan.held_out, weight)
    indices = rng.choice(len(latents), count, p=shares)
    chosen = latents.large if is_large else latents.small
    clean, masks = chosen.batch(indices, rng.integers(0, 2, count))
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
    timesteps = draw_timesteps(count, value_at(plan.noise_power, seen), rng)
    noisy = add_noise(clean, noise, timesteps, alphas).contiguous(memory_format=torch.channels_last)
    return Batch(noisy, noise, masks, timesteps, captions.random(indices, rng))


@torch.no_grad()
def validate(denoiser: Denoiser, chosen: LatentSet, captions: Captions) -> tuple[float, float]:
    """Mean squared error on held-out pictures with their own caption and with another's.

    The difference says how much the network listens to words; the first alone hides it.
    """
    indices = np.arange(VALIDATED)
    clean, _ = chosen.batch(indices, np.zeros(VALIDATED, np.int64))
    generator = torch.Generator().manual_seed(9)
    noise = torch.randn(clean.shape, generator=generator)
    timesteps = torch.arange(VALIDATED) * (TIMESTEPS - 40) // VALIDATED + 20
    noisy = add_noise(clean, noise, timesteps, make_schedule().alphas_cumprod)
    tokens = captions.full(indices)
    right, wrong = (
        float((denoiser(noisy, timesteps, words) - noise).square().mean())
        for words in (tokens, tokens.roll(1, 0))
    )
    return right, wrong


def load_denoiser(plan: Plan, state: Path) -> Denoiser:
    """The trained moving average. Raises FileNotFoundError before any training."""
    checkpoint = load_checkpoint(state / "unet.pt")
    if checkpoint is None:
        raise FileNotFoundError("There is no UNet yet: run `unet` first.")
    denoiser = Denoiser(plan, load_tokenizer(plan, state))
    denoiser.load_state_dict(checkpoint["average"])
    return denoiser.eval().requires_grad_(False)


def samples_seen(state: Path) -> int:
    checkpoint = load_checkpoint(state / "unet.pt")
    return 0 if checkpoint is None else int(checkpoint["seen"])


def rate_at(plan: Plan, seen: int, begun: int = 0) -> float:
    """Constant after a short warm-up from sample `begun` on, falling to zero at the end: any
    checkpoint is usable, and the number of samples need not be known beforehand."""
    left = (plan.unet_samples - seen) / (plan.unet_samples * plan.cooldown)
    return plan.unet_rate * min(1.0, (seen - begun + 100) / 5000, max(left, 0.01))


def train_unet(worker: Worker, plan: Plan, state: Path, pictures: int, until: int) -> None:
    """Trains on the first `pictures` pictures until `until` samples have been seen in all."""
    path = state / "unet.pt"
    latents = load_latents(plan, state, pictures)
    tokenizer = load_tokenizer(plan, state)
    captions = Captions(plan, tokenizer, latents.attributes)
    torch.manual_seed(plan.seed)
    denoiser = Denoiser(plan, tokenizer)
    checkpoint = load_checkpoint(path)
    average = copy.deepcopy(denoiser)
    parameters, averaged = list(denoiser.parameters()), list(average.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=plan.unet_rate, betas=(0.9, 0.98), weight_decay=1e-3
    )
    step, seen, seconds, first = 0, 0, 0.0, 0
    if checkpoint:
        denoiser.load_state_dict(checkpoint["weights"])
        average.load_state_dict(checkpoint["average"])
        if checkpoint["optimizer"]:
            optimizer.load_state_dict(checkpoint["optimizer"])
        step, seen, seconds = (checkpoint[name] for name in ("step", "seen", "seconds"))
        first = checkpoint.get("begun", 0)
    begun = time.monotonic() - seconds
    saved = sampled = time.monotonic()
    alphas = make_schedule().alphas_cumprod
    losses: list[float] = []

    def keep() -> None:
        right, wrong = validate(average, latents.small, captions)
        large_right, large_wrong = validate(average, latents.large, captions)
        row = {
            "step": step,
            "seen": seen,
            "seconds": round(time.monotonic() - begun),
            "loss": float(np.mean(losses)),
            "small": right,
            "small_gap": wrong - right,
            "large": large_right,
            "large_gap": large_wrong - large_right,
        }
        log(state / "unet.csv", row)
        losses.clear()
        save_checkpoint(
            path,
            {
                "weights": denoiser.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seen": seen,
                "begun": first,
                "seconds": time.monotonic() - begun,
            },
        )

    while seen < until:
        shared = np.random.default_rng((plan.seed, STAGE, step))
        is_large = bool(shared.random() < value_at(plan.large_share, seen))
        rng = np.random.default_rng((plan.seed, STAGE, step, worker.rank))
        batch = make_batch(latents, captions, plan, rng, seen=seen, is_large=is_large)
        loss = weighted_loss(
            denoiser(batch.noisy, batch.timesteps, batch.tokens),
            batch,
            alphas,
            object_weight=plan.object_weight,
            snr_limit=value_at(plan.snr_limit, seen),
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        stop = worker.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(plan, seen, first)
        optimizer.step()
        step += 1
        seen += len(batch.noisy) * worker.count
        with torch.no_grad():
            decay = min(plan.unet_decay, (step + 1) / (step + 20))
            torch._foreach_lerp_(averaged, parameters, 1 - decay)
        losses.append(loss.item())
        stop = stop or seen >= until
        now = time.monotonic()
        if worker.is_first and (stop or now - saved > plan.checkpoint_seconds):
            keep()
            saved = time.monotonic()
        if worker.is_first and not stop and now - sampled > plan.sample_seconds:
            save_samples(average, plan, state, state / "samples" / f"{seen:08d}.png")
            sampled = time.monotonic()
        if stop:
            return
