"""Look, shape, ground and sky of toy-world pictures, read by a small classifier.

It was trained on renders alone, never on a diffusion model's pictures, so that its verdict on an
edit is independent (`training/attribute_classifier.py` makes it, held-out accuracies beside it).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from ..client.embedded_words import ATTRIBUTES

FOLDER = Path(__file__).resolve().parent / "attribute_classifier"
WEIGHTS = "model.safetensors"
CARD = "card.json"

SIDE = 64
"""Pictures are shrunk to this many pixels a side first."""
READ_AT_ONCE = 32


class AttributeNetwork(nn.Module):
    """float32 (N, 3, 64, 64) in [-1, 1] to logits (N, values) by attribute name."""

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


class AttributeReader:
    """What the pictures of a clip show."""

    def __init__(self, network: AttributeNetwork) -> None:
        self._network = network.eval()

    def probabilities(self, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
        """For each attribute float (N, values), in the order of `ATTRIBUTES`' values.

        pictures: uint8 (H, W, 3) RGB.
        """
        parts: list[dict[str, Tensor]] = []
        with torch.inference_mode():
            for start in range(0, len(pictures), READ_AT_ONCE):
                logits = self._network(shrink(pictures[start : start + READ_AT_ONCE]))
                parts.append({name: values.softmax(1) for name, values in logits.items()})
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in ATTRIBUTES}

    def read(self, pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, str]]:
        """The likeliest value of each attribute, for each picture."""
        best = {name: p.argmax(1) for name, p in self.probabilities(pictures).items()}
        return [
            {name: values[int(best[name][i])] for name, values in ATTRIBUTES.items()}
            for i in range(len(pictures))
        ]


def load_reader(folder: Path = FOLDER) -> AttributeReader:
    """The classifier that comes with the engine.

    Raises:
        OSError, ValueError: where the files are missing or made for another toy world.
    """
    if {name: tuple(v) for name, v in load_card(folder)["attributes"].items()} != ATTRIBUTES:
        raise ValueError("The attribute classifier was trained on another toy world.")
    network = AttributeNetwork()
    stored = {name: t.float() for name, t in load_file(folder / WEIGHTS).items()}
    network.load_state_dict(stored, strict=False)
    return AttributeReader(network)


def load_card(folder: Path = FOLDER) -> dict[str, Any]:
    """How the classifier was trained, and its accuracies on held-out renders."""
    card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    return card


def shrink(pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Tensor:
    """uint8 (N, H, W, 3) of any size to float32 (N, 3, 64, 64) in [-1, 1]."""
    tensor = torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2).float()
    small = functional.interpolate(
        tensor, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    return small / 127.5 - 1


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
    )
