"""The clip that the demo edits, and the edit it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One clip of the toy world with an edit that the embedded model does well.

    seed, motion, scene: what `toyworld.sample_clip` draws. size: (width, height) in pixels.
    settings: of the add-on's panel, by name.
    """

    seed: int
    motion: str
    scene: dict[str, str]
    frames: int
    size: tuple[int, int]
    fps: int
    settings: dict[str, Any] = field(default_factory=dict)


GRASS_TO_SAND = Sample(
    seed=11,
    motion="orbit",
    scene={"shape": "cone", "look": "red", "ground": "grass", "sky": "blue"},
    frames=16,
    size=(192, 192),
    fps=12,
    settings={
        "source_prompt": "a red cone on grass under a blue sky",
        "prompt": "a red cone on sand under a blue sky",
        "steps": 25,
        "inversion_steps": 25,
        "guidance_scale": 5.0,
        "pnp_features": 0.8,
        "pnp_attention": 0.5,
    },
)
