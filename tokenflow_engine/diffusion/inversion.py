"""DDIM inversion: from clean latents to the noise that DDIM would turn into them.

Source: Song et al., arXiv:2010.02502, section 4.3; in the form of TokenFlow's released code, which
evaluates the UNet at the latents it has with the timestep it goes to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from .schedule import NoiseSchedule, ddim_step

NoisePredictor = Callable[[Tensor, int], Tensor]
"""(latents (n, 4, h, w), timestep) -> noise of the same shape."""


def invert(
    predict_noise: NoisePredictor,
    latents: Tensor,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
) -> Iterator[tuple[int, Tensor]]:
    """Yield (timestep, latents at it) for each of the ascending `timesteps`.

    latents: (n, 4, h, w), clean. Each frame is inverted on its own.
    """
    level = schedule.level(None)
    for timestep in timesteps:
        next_level = schedule.level(timestep)
        latents = ddim_step(latents, predict_noise(latents, timestep), level, next_level)
        level = next_level
        yield timestep, latents


def sample(
    predict_noise: NoisePredictor,
    latents: Tensor,
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
) -> Tensor:
    """Clean latents from those at `timesteps[0]`, down the descending `timesteps` (eq. 12).

    latents: (n, 4, h, w). The inverse of `invert` up to its discretisation error.
    """
    for index, timestep in enumerate(timesteps):
        end = timesteps[index + 1] if index + 1 < len(timesteps) else None
        noise = predict_noise(latents, timestep)
        latents = ddim_step(latents, noise, schedule.level(timestep), schedule.level(end))
    return latents
