"""Ways to invert the diffusion, and the samplers that undo them, as pure functions.

In the coordinates y = x / mu and s = sigma / mu the probability-flow equation is dy/ds = eps
(Song et al., arXiv:2010.02502, section 4.3), and a DDIM step is Euler's. Every solver here takes
latents (n, 4, h, w), inverts each frame on its own, and yields what `inversion.invert` yields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from .inversion import NoisePredictor, invert, sample
from .schedule import NoiseLevel, NoiseSchedule, ddim_step

Path = Iterator[tuple[int, Tensor]]

TOLERANCE = 0.15
"""Leaves 0.00 dB between 50 steps' reconstruction and the autoencoder's round trip on clips of the
toy world, and 0.02 dB for 25 (docs/performance), by the model at 102 000 samples."""

MOST_CALLS = 8
"""For one step of the fixed point."""


class _Slope(NamedTuple):
    """The noise that was found at s = sigma / mu."""

    ratio: float
    noise: Tensor


@dataclass(frozen=True)
class Solver:
    """One way to invert.

    sample: the sampler that it is the inverse of, up to its error.
    calls: UNet calls that an inversion takes for each of its ascending timesteps.
    """

    invert: Callable[[NoisePredictor, Tensor, NoiseSchedule, Sequence[int]], Path]
    sample: Callable[[NoisePredictor, Tensor, NoiseSchedule, Sequence[int]], Tensor]
    calls: Callable[[NoiseSchedule, Sequence[int]], list[int]]


def invert_implicitly(
    predict_noise: NoisePredictor,
    latents: Tensor,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    tolerance: float = TOLERANCE,
) -> Path:
    """Invert the DDIM steps of the same timesteps exactly, up to the fixed point's error.

    A DDIM step down uses the noise of the latents that it starts from, which the way up does not
    know yet: they are the fixed point of one step (AIDI, arXiv:2309.04907; ReNoise,
    arXiv:2403.14602). Two things make it cheap: the iteration starts from the noise of the two
    steps before, continued in a straight line, which is as good as some calls of the UNet; and each
    step gets the calls that it needs (`implicit_calls`).

    tolerance: share of the first guess's error that each step may leave, in (0, 1).
    """
    level = schedule.level(None)
    before: Tensor | None = None
    last: Tensor | None = None
    calls = implicit_calls(schedule, timesteps, tolerance)
    for timestep, count in zip(timesteps, calls, strict=True):
        end = schedule.level(timestep)
        guess = latents
        if last is not None:
            noise = last if before is None else 2 * last - before
            guess = ddim_step(latents, noise, level, end)
        noise = predict_noise(guess, timestep)
        for _ in range(count - 1):
            noise = predict_noise(ddim_step(latents, noise, level, end), timestep)
        latents = ddim_step(latents, noise, level, end)
        before, last, level = last, noise, end
        yield timestep, latents


def implicit_calls(
    schedule: NoiseSchedule, timesteps: Sequence[int], tolerance: float = TOLERANCE
) -> list[int]:
    """UNet calls that the fixed point of each step needs; most need one, the first ones some more.

    With y = x / mu, eps = (y - x_0(y)) / s, so that one iteration shrinks the error by about
    (s_end - s_start) / s_end wherever the denoised x_0 hardly moves with y.
    """
    ratios = [_ratio(schedule.level(timestep)) for timestep in (None, *timesteps)]
    counts = []
    for start, end in pairwise(ratios):
        shrinks = max(0.0, 1 - start / end) if end else 0.0
        needed = math.log(tolerance) / math.log(shrinks) if 0 < shrinks < 1 else 1.0
        counts.append(MOST_CALLS if shrinks == 1 else min(MOST_CALLS, max(1, math.ceil(needed))))
    return counts


def one_call(schedule: NoiseSchedule, timesteps: Sequence[int]) -> list[int]:
    """Solvers that are explicit call the UNet once for each step."""
    return [1] * len(timesteps)


def invert_adams_bashforth(
    predict_noise: NoisePredictor,
    latents: Tensor,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
) -> Path:
    """Two-step Adams-Bashforth over sigma / mu, as PLMS (Liu et al., arXiv:2202.09778) of second
    order, upwards; each step uses the noise of the latents that it starts from."""
    level, at = schedule.level(None), 0
    before: _Slope | None = None
    for timestep in timesteps:
        end = schedule.level(timestep)
        slope = _Slope(_ratio(level), predict_noise(latents, at))
        latents = ddim_step(latents, _extrapolated(slope, before, end), level, end)
        before, level, at = slope, end, timestep
        yield timestep, latents


def sample_adams_bashforth(
    predict_noise: NoisePredictor,
    latents: Tensor,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
) -> Tensor:
    """Clean latents from those at `timesteps[0]`, by two-step Adams-Bashforth downwards."""
    before: _Slope | None = None
    for index, timestep in enumerate(timesteps):
        level = schedule.level(timestep)
        end = schedule.level(timesteps[index + 1] if index + 1 < len(timesteps) else None)
        slope = _Slope(_ratio(level), predict_noise(latents, timestep))
        latents = ddim_step(latents, _extrapolated(slope, before, end), level, end)
        before = slope
    return latents


def _extrapolated(slope: _Slope, before: _Slope | None, end: NoiseLevel) -> Tensor:
    """Mean noise over a step from `slope` to `end`, from the straight line through two slopes."""
    if before is None or slope.ratio == before.ratio:
        return slope.noise
    share = (_ratio(end) - slope.ratio) / (2 * (slope.ratio - before.ratio))
    return slope.noise + share * (slope.noise - before.noise)


def _ratio(level: NoiseLevel) -> float:
    return level.sigma / level.mu


SOLVERS: dict[str, Solver] = {
    "ddim": Solver(invert, sample, one_call),
    "implicit": Solver(invert_implicitly, sample, implicit_calls),
    "adams_bashforth": Solver(invert_adams_bashforth, sample_adams_bashforth, one_call),
}
"""By the name that an `EditRequest` gives. The edit samples with DDIM, so that a solver whose own
sampler is another one reconstructs less well there than with its own."""
