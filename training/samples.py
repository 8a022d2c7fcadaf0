"""Pictures drawn from prompts by the model in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .denoiser import Denoiser, make_pipeline
from .plan import Plan
from .sheets import save_rows
from .tokenizer import load_tokenizer
from .vae_training import load_autoencoder

Array = NDArray[Any]

PROMPTS = (
    "a red ball on grass under a blue sky",
    "a blue ball on grass under a blue sky",
    "a green cube on sand at sunset",
    "a purple cone on snow under a blue sky",
    "a yellow cylinder on stone under a cloudy sky",
    "an orange ball on sand at night",
    "a white cube on grass at sunset",
    "a black cone on snow under a cloudy sky",
    "a gold ball on stone at night",
    "a silver cylinder on grass under a cloudy sky",
    "a wooden cube on snow under a blue sky",
    "a checkered ball on sand under a blue sky",
    "a marble cone on grass at sunset",
    "a checkered cylinder on stone under a cloudy sky",
    "a wooden cone on sand under a cloudy sky",
    "a marble cube on stone at night",
)


def draw(
    denoiser: Denoiser,
    plan: Plan,
    state: Path,
    prompts: Sequence[str],
    *,
    side: int,
    steps: int = 25,
    guidance: float = 5.0,
    seed: int = 1,
) -> Array:
    """One picture for each prompt, uint8 [N, side, side, 3]; the noise depends on its place."""
    vae = load_autoencoder(plan, state)
    was_training = denoiser.training
    pipeline = make_pipeline(denoiser.eval(), vae, load_tokenizer(plan, state))
    drawn = [
        pipeline(
            list(prompts[start : start + 8]),
            height=side,
            width=side,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[
                torch.Generator().manual_seed(seed * 1000 + index)
                for index in range(start, min(start + 8, len(prompts)))
            ],
            output_type="np",
        ).images
        for start in range(0, len(prompts), 8)
    ]
    denoiser.train(was_training)
    return (np.concatenate(drawn) * 255 + 0.5).astype(np.uint8)


def save_samples(denoiser: Denoiser, plan: Plan, state: Path, path: Path) -> None:
    """A sheet of `PROMPTS`, at the reduced size above and at full size below."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, side in (("small", plan.small_cells * 8), ("large", plan.cells * 8)):
        images = draw(denoiser, plan, state, PROMPTS, side=side)
        save_rows(path.with_stem(f"{path.stem}_{name}"), [images[:8], images[8:]])
