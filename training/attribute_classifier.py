"""`python -m training.attribute_classifier`: train the judge that `tokenflow evaluate` reads with.

One process of one thread; the renders come from seeds that neither the embedded model's training
nor the evaluation set uses. Writes fp16 safetensors and the accuracies on held-out renders.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from tokenflow_engine.evaluation.attributes import (
    CARD,
    FOLDER,
    SIDE,
    WEIGHTS,
    AttributeNetwork,
    load_reader,
    shrink,
)
from tokenflow_engine.toyworld import ATTRIBUTES, render, sample_scene

SEED, HELD_OUT_SEED = 640_001, 640_002
PICTURE_SIDES = (64, 96, 128)
"""Pixels of the renders; a larger one, shrunk, looks smoother than a small one."""
BLURRED_SIDE = 32


def drawn(seed: int, index: int) -> tuple[Tensor, list[int]]:
    """One render, int8 (3, 64, 64), and its attributes' places in their lists of values."""
    rng = np.random.default_rng((seed, index))
    side = int(rng.choice(PICTURE_SIDES))
    scene = sample_scene(rng)
    image = render(scene, side, side).image
    codes = [values.index(getattr(scene, name)) for name, values in ATTRIBUTES.items()]
    return (shrink(image[None])[0] * 127.5).round().clamp(-127, 127).to(torch.int8), codes


def renders(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """int8 (count, 3, 64, 64) and int64 (count, attributes)."""
    pairs = [drawn(seed, index) for index in range(count)]
    return torch.stack([p for p, _ in pairs]), torch.tensor([c for _, c in pairs])


def blurred(batch: Tensor, side: int) -> Tensor:
    small = functional.interpolate(batch, size=(side, side), mode="area")
    return functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")


def varied(batch: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirrors, blur and noise: a decoder's pictures are softer and rougher than renders."""
    if rng.random() < 0.5:
        batch = batch.flip(3)
    if rng.random() < 0.5:
        batch = blurred(batch, int(rng.choice([24, 32, 48])))
    if rng.random() < 0.5:
        coarse = torch.from_numpy(rng.normal(0, 0.06, (len(batch), 3, 16, 16))).float()
        fine = torch.from_numpy(rng.normal(0, 0.03, tuple(batch.shape))).float()
        batch = batch + fine + functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return batch


def train(inputs: Tensor, labels: Tensor, steps: int, batch: int = 64) -> AttributeNetwork:
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    network = AttributeNetwork().train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.from_numpy(rng.integers(0, len(inputs), batch))
        logits = network(varied(inputs[chosen].float() / 127.5, rng))
        losses = [
            functional.cross_entropy(logits[name], labels[chosen, column])
            for column, name in enumerate(ATTRIBUTES)
        ]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def accuracies(pictures: NDArray[np.uint8], labels: Tensor, folder: Path) -> dict[str, float]:
    """Share of pictures whose attribute the stored classifier reads rightly, by attribute."""
    read = load_reader(folder).probabilities(list(pictures))
    return {
        name: round(float((read[name].argmax(1) == labels[:, column].numpy()).mean()), 4)
        for column, name in enumerate(ATTRIBUTES)
    }


def as_pictures(batch: Tensor) -> NDArray[np.uint8]:
    pixels = ((batch + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.attribute_classifier")
    parser.add_argument("--pictures", type=int, default=16_000, help="(%(default)s)")
    parser.add_argument("--held-out", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=2500, help="(%(default)s)")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR")
    options = parser.parse_args()
    os.nice(19)
    torch.set_num_threads(1)
    network = train(*renders(SEED, options.pictures), options.steps)

    options.output.mkdir(parents=True, exist_ok=True)
    floats = {name: t for name, t in network.state_dict().items() if t.is_floating_point()}
    halves = {name: t.half().contiguous() for name, t in floats.items()}
    save_file(halves, options.output / WEIGHTS)
    card: dict[str, Any] = {
        "made_by": "python -m training.attribute_classifier",
        "attributes": ATTRIBUTES,
        "renders": {"seed": SEED, "count": options.pictures, "sides": PICTURE_SIDES},
        "steps": options.steps,
        "held_out": {"seed": HELD_OUT_SEED, "count": options.held_out},
    }
    path = options.output / CARD
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    inputs, labels = renders(HELD_OUT_SEED, options.held_out)
    sharp = inputs.float() / 127.5
    card["accuracy"] = accuracies(as_pictures(sharp), labels, options.output)
    soft = as_pictures(blurred(sharp, BLURRED_SIDE))
    card["accuracy_blurred"] = accuracies(soft, labels, options.output)
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"sharp": card["accuracy"], "blurred": card["accuracy_blurred"]}))


if __name__ == "__main__":
    main()
