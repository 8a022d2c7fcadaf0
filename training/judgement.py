"""How often the model's pictures show what their captions say, as an independent judge reads them:
the attribute classifier of `tokenflow evaluate`, which was trained on renders alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tokenflow_engine.evaluation.attributes import load_reader
from tokenflow_engine.toyworld import ATTRIBUTES, Scene, full_caption, scene_attributes

from .plan import Plan
from .samples import draw
from .sheets import save_rows
from .state import log
from .unet_training import load_denoiser, samples_seen


def balanced_scenes(count: int, rng: np.random.Generator) -> list[Scene]:
    """Scenes in which every value of an attribute comes equally often, in random company."""
    columns = {
        name: rng.permutation(np.resize(np.array(values), count))
        for name, values in ATTRIBUTES.items()
    }
    return [
        Scene(**{name: str(column[index]) for name, column in columns.items()})
        for index in range(count)
    ]


def judge(
    plan: Plan, state: Path, *, count: int = 104, guidance: float = 5.0, side: int | None = None
) -> dict[str, float]:
    """Accuracy by attribute over `count` balanced captions, one picture and noise for each.

    Appends a row to judgement.csv and saves the pictures as judgement.png.
    """
    torch.set_num_threads(1)
    side = side or plan.size
    scenes = balanced_scenes(count, np.random.default_rng(plan.seed))
    prompts = [full_caption(scene) for scene in scenes]
    images = draw(
        load_denoiser(plan, state), plan, state, prompts, side=side, guidance=guidance, seed=77
    )
    read = load_reader().read(list(images))
    accuracy = {
        name: float(
            np.mean(
                [
                    said[name] == scene_attributes(scene)[name]
                    for said, scene in zip(read, scenes, strict=True)
                ]
            )
        )
        for name in ATTRIBUTES
    }
    settings = {"seen": samples_seen(state), "side": side, "guidance": guidance, "count": count}
    log(state / "judgement.csv", settings | accuracy)
    rows = min(8, count // 8)
    save_rows(
        state / f"judgement_{side}.png", [images[row * 8 : row * 8 + 8] for row in range(rows)]
    )
    return accuracy
