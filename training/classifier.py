"""An independent judge: reads look, shape, ground and sky off a picture.

Trained on renders alone, never on the model's pictures, so that its verdict on them is honest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tokenflow_engine.toyworld import ATTRIBUTES

from .pictures import Pictures
from .plan import Plan
from .state import load_checkpoint, log, save_checkpoint

Array = NDArray[Any]
SIDE = 64
"""Pictures are shrunk to this many pixels a side first."""


class Classifier(nn.Module):
    """float32 [N, 3, 64, 64] in [-1, 1] -> logits by attribute name."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes = [len(values) for values in ATTRIBUTES.values()]
        self.features = nn.Sequential(
            _block(3, 24, stride=2),
            _block(24, 48),
            nn.MaxPool2d(2),
            _block(48, 64),
            _block(64, 64),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(64 * (SIDE // 8) ** 2, 128),
            nn.ReLU(),
            nn.Linear(128, sum(self._sizes)),
        )

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        logits = self.features(pictures).split(self._sizes, 1)
        return dict(zip(ATTRIBUTES, logits, strict=True))


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def shrink(images: Array) -> Tensor:
    """uint8 [N, H, W, 3] of any size -> float32 [N, 3, 64, 64] in [-1, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    small = functional.interpolate(
        tensor, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    return small / 127.5 - 1


@torch.no_grad()
def classify(classifier: Classifier, images: Array) -> list[dict[str, str]]:
    """The attributes of each uint8 picture [N, H, W, 3]."""
    classifier.eval()
    logits = classifier(shrink(images))
    return [
        {name: values[int(logits[name][index].argmax())] for name, values in ATTRIBUTES.items()}
        for index in range(len(images))
    ]


def load_classifier(state: Path) -> Classifier:
    """The trained classifier. Raises FileNotFoundError before any training."""
    checkpoint = load_checkpoint(state / "classifier.pt")
    if checkpoint is None:
        raise FileNotFoundError("There is no classifier yet: run `classifier` first.")
    classifier = Classifier()
    classifier.load_state_dict(checkpoint["weights"])
    return classifier.eval()


def train_classifier(plan: Plan, state: Path, *, epochs: int = 8) -> dict[str, float]:
    """Trains on all pictures drawn so far; returns the accuracy on held-out ones by attribute."""
    torch.set_num_threads(1)
    torch.manual_seed(plan.seed)
    pictures = Pictures(plan, state)
    labels = torch.from_numpy(pictures.attributes.astype(np.int64))
    inputs = torch.cat(
        [
            (shrink(pictures.batch(range(start, start + plan.shard))) * 127.5).to(torch.int8)
            for start in range(0, len(pictures), plan.shard)
        ]
    )
    classifier = Classifier().train()
    steps = epochs * max(1, (len(pictures) - plan.held_out) // 64)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    rng = np.random.default_rng(plan.seed)
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(plan.held_out, len(pictures), 64))
        batch = _vary(inputs[chosen].float() / 127.5, rng)
        logits = classifier(batch)
        loss = sum(
            functional.cross_entropy(logits[name], labels[chosen, column])
            for column, name in enumerate(ATTRIBUTES)
        )
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    classifier.eval()
    with torch.no_grad():
        held_out = classifier(inputs[: plan.held_out].float() / 127.5)
    accuracy = {
        name: float((held_out[name].argmax(1) == labels[: plan.held_out, column]).float().mean())
        for column, name in enumerate(ATTRIBUTES)
    }
    log(state / "classifier.csv", {"steps": steps, **accuracy})
    save_checkpoint(state / "classifier.pt", {"weights": classifier.state_dict()})
    return accuracy


def _vary(batch: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirrors and blurs: the judge must not rest on sharpness that a decoder doesn't reach."""
    if rng.random() < 0.5:
        batch = batch.flip(3)
    if rng.random() < 0.5:
        side = int(rng.choice([24, 32, 48]))
        small = functional.interpolate(batch, size=(side, side), mode="area")
        batch = functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")
    return batch
