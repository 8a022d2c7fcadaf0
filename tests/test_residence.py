"""A model's parts on a small device one at a time: the same pictures, few moves, safe on errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_edit import cache, clip, pictures, request_for  # noqa: F401
from torch import nn

from tokenflow_engine import EditRequest, edit
from tokenflow_engine.client.errors import Cancelled
from tokenflow_engine.diffusion.model import WEIGHTS, DiffusionModel, load_model
from tokenflow_engine.diffusion.residence import (
    HOST,
    OneAtATime,
    all_stay,
    free_bytes,
    move,
    settle,
    weight_bytes,
)
from tokenflow_engine.phases import invert, prepare

Build = Callable[..., EditRequest]
DEVICE = torch.device("cpu", 0)
"""The CPU under another name: what lies there is on the device, what lies on `HOST` is not."""


class Swaps:
    """Moves parts for a device that isn't there: what is away holds no numbers at all.

    came: names of the parts in the order in which they came to the device.
    failing: a part for which the device has no room the next time.
    """

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        self.came: list[str] = []
        self.failing: str | None = None
        self._names = {id(part): name for name, part in parts.items()}
        self._kept: dict[str, list[torch.Tensor]] = {}

    def __call__(self, part: nn.Module, device: torch.device) -> None:
        name = self._names[id(part)]
        if device == HOST:
            if name not in self._kept:
                self._kept[name] = [x.detach().clone() for x in part.parameters()]
                for x in part.parameters():
                    x.data.fill_(float("nan"))
            return
        if name == self.failing:
            self.failing = None
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        for x, kept in zip(part.parameters(), self._kept.pop(name), strict=True):
            x.data.copy_(kept)
        self.came.append(name)


class OneModel:
    """A shelf with one model on it."""

    def __init__(self, model: DiffusionModel) -> None:
        self._model = model

    def model(self, *_: object) -> DiffusionModel:
        return self._model


@pytest.fixture
def swaps(monkeypatch: pytest.MonkeyPatch) -> Swaps:
    """An embedded model whose parts are on the device one at a time serves all edits."""
    model = load_model("embedded", torch.device("cpu"), torch.float32)
    parts = {name: getattr(model, name) for name in WEIGHTS}
    swaps = Swaps(parts)
    for part in parts.values():
        swaps(part, HOST)
    model.residence = OneAtATime(parts, DEVICE, swaps)
    monkeypatch.setattr(prepare, "shelf", OneModel(model))
    return swaps


def test_parts_stay_where_they_take_half_of_what_is_free_or_less() -> None:
    gigabyte = 10**9
    weights = {"unet": 17 * gigabyte // 10, "vae": gigabyte // 3, "text_encoder": gigabyte // 4}
    assert all_stay(8 * gigabyte, weights)
    assert all_stay(2 * sum(weights.values()), weights)
    assert not all_stay(2 * sum(weights.values()) - 1, weights)
    assert not all_stay(0, weights)


def test_on_a_cpu_nothing_moves() -> None:
    assert free_bytes(torch.device("cpu")) is None
    assert settle({"unet": nn.Linear(2, 2)}, torch.device("cpu")) is None
    assert weight_bytes(nn.Linear(2, 2)) == 6 * 4


def test_what_moves_within_inference_mode_can_be_used_outside_of_it() -> None:
    layer = nn.Linear(2, 2).requires_grad_(False)
    with torch.inference_mode():
        move(layer, torch.device("meta"))
    assert layer.weight.device.type == "meta"
    assert not layer.weight.is_inference()


def test_an_edit_by_parts_that_take_turns_is_the_same_bit_for_bit_and_they_seldom_move(
    request_for: Build,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    swaps: Swaps,
) -> None:
    in_turns = edit(request_for(output=str(tmp_path / "in turns")))
    # Prompts; all batches encoded, all inverted; a sample decoded; edited; decoded.
    assert swaps.came == ["text_encoder", "vae", "unet", "vae", "unet", "vae"]
    monkeypatch.undo()
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "another cache"))
    resident = edit(request_for(output=str(tmp_path / "resident")))
    assert np.array_equal(pictures(in_turns.output), pictures(resident.output))


def test_a_long_inversion_takes_turns_once_for_many_batches(
    request_for: Build,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    swaps: Swaps,
) -> None:
    monkeypatch.setattr(invert, "ENCODED_AHEAD", 2)
    edit(request_for(chunk=2, steadying=0))
    # Seven frames are four batches of two, and two batches share a turn.
    assert swaps.came[:5] == ["text_encoder", "vae", "unet", "vae", "unet"]


def test_a_part_that_finds_no_memory_is_brought_again_for_smaller_pieces(
    request_for: Build,  # noqa: F811
    tmp_path: Path,
    swaps: Swaps,
) -> None:
    whole = edit(request_for(output=str(tmp_path / "whole")))
    request = request_for(prompt="a yellow ball on sand", output=str(tmp_path / "cancelled"))
    with pytest.raises(Cancelled):
        edit(request, cancelled=lambda: True)
    swaps.failing = "unet"
    again = edit(request_for(output=str(tmp_path / "again"), seed=1))
    assert any("Memory was short" in warning for warning in again.warnings)
    after = edit(replace(request_for(), output=str(tmp_path / "after")))
    assert np.array_equal(pictures(whole.output), pictures(after.output))
