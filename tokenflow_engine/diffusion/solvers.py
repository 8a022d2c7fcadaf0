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

import torch
from torch import Tensor

from .inversion import NoisePredictor, invert, sample
from .schedule import NoiseLevel, NoiseSchedule, ddim_step

Path = Iterator[tuple[int, Tensor]]

TOLERANCE = 0.005
"""Root mean square by which the last call of a step still moved the latents, in units of clean
ones; what it then leaves is some times smaller."""

WIDEST = 1.25
"""Width of a step, in sigma / mu, from which on `TOLERANCE` counts as if it were this wide. What
would be asked of the noise there lies below the rounding errors of a UNet in bfloat16, and the way
down shrinks errors that are made where there is so much noise."""

MOST_CALLS = 8
"""For one step of the fixed point."""

_TINY = 1e-30


class _Slope(NamedTuple):
    """The noise that was found at s = sigma / mu."""

    ratio: float
    noise: Tensor


@dataclass(frozen=True)
class Solver:
    """One way to invert.

    sample: the sampler that it is the inverse of, up to its error.
    calls: UNet calls that an inversion takes for each of its ascending timesteps; those of
        "implicit" are what is expected.
    version: raised when it comes to other latents than before, so that kept ones are not used.
    """

    invert: Callable[[NoisePredictor, Tensor, NoiseSchedule, Sequence[int]], Path]
    sample: Callable[[NoisePredictor, Tensor, NoiseSchedule, Sequence[int]], Tensor]
    calls: Callable[[NoiseSchedule, Sequence[int]], list[int]]
    version: int = 1


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
    arXiv:2403.14602). Three things make it cheap: the iteration starts from the noise of the two
    steps before, continued in a straight line, which is as good as some calls of the UNet; it is
    accelerated (`_fixed_point`); and a step gets the calls that its frames turn out to need. Most
    need one; the first ones need more, and so do those in which a picture's contents are decided,
    where the denoised picture runs ahead of the latents and small errors grow on the way down.

    tolerance: see `TOLERANCE`.
    """
    level = schedule.level(None)
    slopes: list[_Slope] = []
    for timestep in timesteps:
        end = schedule.level(timestep)
        width = _ratio(end) - _ratio(level)

        def again(
            noise: Tensor,
            start: Tensor = latents,
            at: int = timestep,
            levels: tuple[NoiseLevel, NoiseLevel] = (level, end),
        ) -> Tensor:
            return predict_noise(ddim_step(start, noise, *levels), at)

        guess = _continued(slopes, end) if slopes else torch.zeros_like(latents)
        settled = tolerance / min(width, WIDEST) if width else math.inf
        noise = _fixed_point(again, guess, settled)
        latents = ddim_step(latents, noise, level, end)
        slopes, level = [*slopes[-1:], _Slope(_ratio(end), noise)], end
        yield timestep, latents


def _continued(slopes: Sequence[_Slope], end: NoiseLevel) -> Tensor:
    """The noise at `end`, from the straight line through two before it over log(sigma / mu), in
    which it bends least (DPM-Solver, arXiv:2206.00927, section 3.1)."""
    last = slopes[-1]
    if len(slopes) == 1:
        return last.noise
    share = math.log(_ratio(end) / last.ratio) / math.log(last.ratio / slopes[0].ratio)
    return last.noise + share * (last.noise - slopes[0].noise)


def _fixed_point(again: Callable[[Tensor], Tensor], noise: Tensor, tolerance: float) -> Tensor:
    """Each frame's noise with again(noise) = noise, from a first guess (n, 4, h, w).

    Anderson's acceleration of depth one (Walker and Ni, SIAM J. Numer. Anal. 49, 2011): the
    secant through two calls is as good as many plain iterations where all directions shrink alike,
    and converges where one of them hardly shrinks. A frame that has settled keeps its noise,
    whatever the others need.

    tolerance: root mean square of a frame's residual again(noise) - noise that settles it.
    """
    unsettled = torch.ones(len(noise), 1, 1, 1, dtype=torch.bool, device=noise.device)
    before: tuple[Tensor, Tensor] | None = None
    for _ in range(MOST_CALLS):
        found = again(noise)
        residual = found - noise
        better = found
        if before is not None:
            turn = residual - before[1]
            share = _dot(residual, turn) / _dot(turn, turn).clamp_min(_TINY)
            better = found - share.to(found.dtype) * (found - before[0])
        noise = torch.where(unsettled, better, noise)
        unsettled &= _dot(residual, residual) > tolerance**2 * residual[0].numel()
        if not unsettled.any():
            break
        before = found, residual
    return noise


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """(n, 1, 1, 1) products of the frames of two tensors (n, 4, h, w), in single precision at
    least."""
    dtype = torch.promote_types(one.dtype, torch.float32)
    return (one.to(dtype) * other.to(dtype)).sum(dim=(1, 2, 3), keepdim=True)


def implicit_calls(schedule: NoiseSchedule, timesteps: Sequence[int]) -> list[int]:
    """UNet calls that each step of the fixed point is expected to take; how many it takes only its
    frames can tell.

    The first guess errs by about the step's curvature, shrinks**2 * width, and each call shrinks
    that by the share `shrinks` that the latents' noise has in the step, and some. The two constants
    were fitted to 8 to 50 steps of the embedded model.
    """
    ratios = [_ratio(schedule.level(timestep)) for timestep in (None, *timesteps)]
    counts = []
    for start, end in pairwise(ratios):
        shrinks = 1 - start / end if end else 0.0
        error = shrinks**2 * min(end - start, WIDEST)
        further = math.log(error / 0.02) / -math.log(0.7 * shrinks) if error > 0.02 else 0.0
        counts.append(min(MOST_CALLS, 1 + math.ceil(further)))
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
    "implicit": Solver(invert_implicitly, sample, implicit_calls, version=2),
    "adams_bashforth": Solver(invert_adams_bashforth, sample_adams_bashforth, one_call),
}
"""By the name that an `EditRequest` gives. The edit samples with DDIM, so that a solver whose own
sampler is another one reconstructs less well there than with its own."""
