"""Ways to invert the diffusion, and the samplers that undo them, as pure functions.

In the coordinates y = x / mu and s = sigma / mu the probability-flow equation is dy/ds = eps
(Song et al., arXiv:2010.02502, section 4.3), and a DDIM step is Euler's. Every solver here takes
latents (n, 4, h, w), inverts each frame on its own, and yields what `inversion.invert` yields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor

from .inversion import NoisePredictor, invert, sample
from .schedule import NoiseLevel, NoiseSchedule, ddim_step

Path = Iterator[tuple[int, Tensor]]


class _Slope(NamedTuple):
    """The noise that was found at s = sigma / mu."""

    ratio: float
    noise: Tensor


@dataclass(frozen=True)
class Solver:
    """One way to invert.

    sample: the sampler that it is the inverse of, up to its error.
    calls: UNet calls for each step of the inversion.
    """

    invert: Callable[[NoisePredictor, Tensor, NoiseSchedule, Sequence[int]], Path]
    sample: Callable[[NoisePredictor, Tensor, NoiseSchedule, Sequence[int]], Tensor]
    calls: int


def invert_implicitly(
    predict_noise: NoisePredictor,
    latents: Tensor,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    calls: int,
) -> Path:
    """Invert the DDIM steps of the same timesteps exactly, up to the fixed point's error.

    A DDIM step down uses the noise of the latents that it starts from, which the way up does not
    know yet: they are the fixed point of one step (AIDI, arXiv:2309.04907; ReNoise,
    arXiv:2403.14602). The iteration starts from the noise of the two steps before, continued in a
    straight line over the steps, which is as good as about two calls of the UNet.

    calls: UNet calls for each step, at least 1.
    """
    level = schedule.level(None)
    before: Tensor | None = None
    last: Tensor | None = None
    for timestep in timesteps:
        end = schedule.level(timestep)
        if last is None:
            guess = latents
        else:
            noise = last if before is None else 2 * last - before
            guess = ddim_step(latents, noise, level, end)
        noise = predict_noise(guess, timestep)
        for _ in range(calls - 1):
            noise = predict_noise(ddim_step(latents, noise, level, end), timestep)
        latents = ddim_step(latents, noise, level, end)
        before, last, level = last, noise, end
        yield timestep, latents


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
    "ddim": Solver(invert, sample, 1),
    "implicit": Solver(partial(invert_implicitly, calls=1), sample, 1),
    "fixed_point": Solver(partial(invert_implicitly, calls=3), sample, 3),
    "adams_bashforth": Solver(invert_adams_bashforth, sample_adams_bashforth, 1),
}
"""By the name that an `EditRequest` gives. The edit samples with DDIM, so that a solver whose own
sampler is another one reconstructs less well there than with its own."""
