"""Every number of the training that shapes its outcome, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace

Course = tuple[tuple[int, float], ...]
"""A number that changes on the way: (samples, value from so many samples on), the first from 0."""


@dataclass(frozen=True)
class Plan:
    """The defaults make the shipped checkpoint; tests shrink them.

    Sizes are in pixels unless named otherwise; a latent cell is 8 pixels.
    """

    seed: int = 7
    processes: int = 2
    """Workers of one thread each: on small convolutions one process with two threads is half as
    fast as two processes with one."""

    # Pictures
    size: int = 192
    shard: int = 250
    """Pictures in one file."""
    first_pictures: int = 6000
    """What the autoencoder learns from."""
    growth: tuple[tuple[int, int], ...] = (
        (6000, 200_000),
        (12000, 400_000),
        (24000, 1_500_000),
    )
    """(pictures, samples): how many pictures the UNet learns from until so many samples."""
    held_out: int = 250
    """The first pictures, never trained on."""

    # Autoencoder
    vae_channels: tuple[int, ...] = (16, 32, 64, 96)
    vae_batch: int = 6
    """Pictures per worker and step."""
    vae_crop: int = 96
    vae_large_crop: int = 128
    vae_rate: float = 1.5e-3
    vae_steps: int = 2200
    kl_weight: float = 3e-4

    # Text encoder and UNet
    text_width: int = 96
    text_layers: int = 3
    text_tokens: int = 32
    unet_channels: tuple[int, ...] = (32, 64, 128, 192)
    unet_heads: tuple[int, ...] = (2, 4, 4, 4)
    unet_groups: int = 8
    small_batch: int = 14
    large_batch: int = 8
    """Pictures per worker and step, reduced to 2/3 and full size."""
    large_share: Course = ((0, 0.1), (108_000, 0.5), (500_000, 0.85))
    """Share of steps at full size, which cost 2.7 times as much a sample."""
    unet_rate: float = 1e-3
    unet_decay: float = 0.999
    """Decay of the moving average, which is what is exported."""
    cooldown: float = 0.35
    """Last part of the samples, over which the rate falls to zero."""
    full_captions: float = 0.6
    dropped_captions: float = 0.1
    noise_power: Course = ((0, 0.7), (108_000, 0.9))
    """Timesteps are drawn as 1000 u^power: below 1 favours the noisy end, where words decide. Once
    these are learnt, detail and edges want their share."""
    object_weight: float = 2.5
    """Weight of the loss on the object, where shape and look live."""
    pattern_weight: Course = ((0, 1.0), (108_000, 2.0))
    """How many times more often than others pictures of wooden, checkered and marble objects are
    drawn: patterns are learnt last."""
    snr_limit: Course = ((0, 5.0), (108_000, 20.0))
    """Min-SNR-gamma weighting (Hang et al. 2023)."""

    guidance_gain: float = 0.4
    """A world of few words answers guidance more strongly than Stable Diffusion: objects swell and
    colours burn out where that one's are right. 7.5 there is 3.6 here (docs/evaluation.md)."""

    # Keeping
    checkpoint_seconds: float = 180
    sample_seconds: float = 1200
    """Seconds between two sheets of samples."""

    def ended_at(self, samples: int) -> Plan:
        """The same plan with its end, and so the fall of the rate before it, at `samples`."""
        before = tuple(each for each in self.growth if each[1] < samples)
        pictures = self.growth[min(len(before), len(self.growth) - 1)][0]
        return replace(self, growth=(*before, (pictures, samples)))

    @property
    def unet_samples(self) -> int:
        """Samples after which the UNet counts as trained."""
        return self.growth[-1][1]

    @property
    def cells(self) -> int:
        """Latent cells along a side of a full picture."""
        return self.size // 8

    @property
    def small_cells(self) -> int:
        """Latent cells along a side of a reduced picture (two thirds of the full one)."""
        return self.cells * 2 // 3


def value_at(course: Course, seen: int) -> float:
    """A course's value after `seen` samples."""
    return next(value for start, value in reversed(course) if seen >= start)
