"""How near each inversion solver comes to the source, for how many UNet calls.

What is measured is what an edit starts from: the clip inverted by a solver and sampled back by DDIM
on the same timesteps, as the edit samples, beside the autoencoder's round trip, which no inversion
can beat but by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diffusion.autoencoder import decode, encode
from ..diffusion.inversion import sample
from ..diffusion.model import DiffusionModel
from ..diffusion.prompts import embed
from ..diffusion.solvers import SOLVERS
from ..evaluation.metrics import psnr
from ..toyworld.captions import full_caption
from ..toyworld.clips import move
from ..toyworld.evaluation_set import plan_clip
from ..toyworld.render import render

CURVES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("ddim", (25, 50, 100, 500)),
    ("implicit", (8, 12, 16, 20, 25, 50)),
    ("adams_bashforth", (25, 50, 100)),
)
"""Solvers and their steps."""

PLAIN = ("ddim", 500)
"""The released code's inversion."""


@dataclass(frozen=True)
class Reconstruction:
    """calls: UNet calls of the inversion, which takes all frames in one batch. psnr: dB, sampled
    back by DDIM; own_psnr: by the solver's own sampler."""

    solver: str
    steps: int
    calls: int
    psnr: float
    own_psnr: float


@dataclass(frozen=True)
class Reconstructions:
    """clips: how many, one frame of each. roundtrip_psnr: dB of the autoencoder alone."""

    clips: int
    size: int
    roundtrip_psnr: float
    points: tuple[Reconstruction, ...]

    def psnr(self, solver: str, steps: int) -> float:
        return next(p.psnr for p in self.points if (p.solver, p.steps) == (solver, steps))

    def fewest_steps(self, solver: str, below: float, least: int) -> int | None:
        """Fewest measured steps of a solver, from `least` on, that reconstruct at most `below` dB
        worse than 500 of plain DDIM; None where no number of them does."""
        enough = self.psnr(*PLAIN) - below
        points = (p for p in self.points if p.solver == solver and p.steps >= least)
        return min((p.steps for p in points if p.psnr >= enough), default=None)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "points": [asdict(point) for point in self.points]}


def measure_reconstruction(
    model: DiffusionModel,
    clips: int,
    size: int,
    tell: Callable[[str], None],
    curves: Sequence[tuple[str, tuple[int, ...]]] = CURVES,
) -> Reconstructions:
    """Mean PSNR over a frame out of each of the evaluation set's first clips, at `size` pixels."""
    frames, embeddings = [], []
    for number in range(clips):
        scene, motion, _, _ = plan_clip(number)
        moving = move(scene, motion, 9)
        frames.append(render(moving[4], size, size).image)
        embeddings.append(embed(model, full_caption(moving[0])))
    originals, context = np.stack(frames), torch.cat(embeddings)
    clean = encode(model, originals)

    called = 0

    def predict(latents: Tensor, timestep: int) -> Tensor:
        nonlocal called
        called += 1
        with torch.inference_mode():
            given = latents.to(model.dtype)
            output = model.unet(given, timestep, encoder_hidden_states=context).sample
        return model.schedule.noise(output.to(latents.dtype), latents, timestep)

    def fidelity(latents: Tensor) -> float:
        pairs = zip(originals, decode(model, latents), strict=True)
        return float(np.mean([psnr(*pair) for pair in pairs]))

    points = []
    for name, all_steps in curves:
        solver = SOLVERS[name]
        for steps in all_steps:
            tell(f"reconstruction: {name}, {steps} steps")
            down = model.schedule.timesteps(steps)
            called = 0
            *_, (_, noisy) = solver.invert(predict, clean, model.schedule, down[::-1])
            calls = called
            by_ddim = fidelity(sample(predict, noisy, model.schedule, down))
            own = by_ddim
            if solver.sample is not sample:
                own = fidelity(solver.sample(predict, noisy, model.schedule, down))
            points.append(Reconstruction(name, steps, calls, round(by_ddim, 3), round(own, 3)))
    return Reconstructions(clips, size, round(fidelity(clean), 3), tuple(points))
