"""DDIM's noise schedule as pure functions (Song et al., ICLR 2021, arXiv:2010.02502).

A latent at timestep t is x_t = mu_t x_0 + sigma_t eps with mu_t**2 + sigma_t**2 = 1.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


class NoiseLevel(NamedTuple):
    """mu: share of the signal, sigma: share of the noise, both in [0, 1]."""

    mu: float
    sigma: float


@dataclass(frozen=True)
class NoiseSchedule:
    """Timesteps and noise levels of a model's DDIM scheduler.

    scheduler: a diffusers `DDIMScheduler`.
    alphas_cumprod: mu_t**2 for each of the model's training timesteps.
    final_alpha: mu**2 that stands for the clean latent.
    prediction_type: what the UNet's output means: "epsilon", "v_prediction" or "sample".
    """

    scheduler: Any
    alphas_cumprod: tuple[float, ...]
    final_alpha: float
    prediction_type: str

    @classmethod
    def of(cls, scheduler: Any) -> NoiseSchedule:
        return cls(
            scheduler,
            tuple(scheduler.alphas_cumprod.double().tolist()),
            float(scheduler.final_alpha_cumprod),
            scheduler.config.prediction_type,
        )

    def timesteps(self, steps: int) -> list[int]:
        """`steps` training timesteps from the noisiest down."""
        self.scheduler.set_timesteps(steps)
        return [int(t) for t in self.scheduler.timesteps]

    def level(self, timestep: int | None) -> NoiseLevel:
        """Noise level of a timestep; None stands for the clean latent."""
        alpha = self.final_alpha if timestep is None else self.alphas_cumprod[timestep]
        return NoiseLevel(alpha**0.5, (1 - alpha) ** 0.5)

    def noise(self, output: Tensor, latents: Tensor, timestep: int) -> Tensor:
        """The noise eps that a UNet output stands for, whatever the model predicts.

        Raises:
            ValueError: for a prediction type that diffusers does not define.
        """
        if self.prediction_type == "epsilon":
            return output
        mu, sigma = self.level(timestep)
        if self.prediction_type == "v_prediction":
            return mu * output + sigma * latents
        if self.prediction_type == "sample":
            return (latents - mu * output) / sigma
        raise ValueError(f"unknown prediction type {self.prediction_type!r}")


def ddim_step(latents: Tensor, noise: Tensor, start: NoiseLevel, end: NoiseLevel) -> Tensor:
    """Carry latents from one noise level to another along DDIM's deterministic path (eq. 12).

    Works in both directions; latents and noise have the same shape.
    """
    clean = (latents - start.sigma * noise) / start.mu
    return end.mu * clean + end.sigma * noise


def add_noise(clean: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
    """Latents at a noise level from clean latents and noise of the same shape."""
    return level.mu * clean + level.sigma * noise


def noise_in(latents: Tensor, clean: Tensor, level: NoiseLevel) -> Tensor:
    """The noise that turns `clean` into `latents` at a noise level."""
    return (latents - level.mu * clean) / level.sigma


@dataclass(frozen=True)
class DenseOutput:
    """Latents at any timestep between two that a DDIM path has visited.

    A DDIM step is a straight line of x / mu over sigma / mu, so that the point at a third noise
    level follows from its two ends without another UNet call. Beyond the last visited timestep the
    last line is continued.
    """

    schedule: NoiseSchedule
    visited: tuple[int, ...]
    """Ascending timesteps, at least one; the clean latent comes before them."""

    def ends(self, timestep: int) -> tuple[int | None, int]:
        """The two visited timesteps that a timestep lies between; None is the clean latent."""
        i = min(bisect_left(self.visited, timestep), len(self.visited) - 1)
        return (self.visited[i - 1] if i else None), self.visited[i]

    def between(self, timestep: int, low: Tensor, high: Tensor) -> Tensor:
        """Latents at `timestep` from those at its two `ends`."""
        ends = self.ends(timestep)
        if timestep == ends[1]:
            return high
        levels = [self.schedule.level(t) for t in (*ends, timestep)]
        low_ratio, high_ratio, ratio = (level.sigma / level.mu for level in levels)
        share = (ratio - low_ratio) / (high_ratio - low_ratio)
        return levels[2].mu * torch.lerp(low / levels[0].mu, high / levels[1].mu, share)
