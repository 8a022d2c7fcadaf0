"""Where memory runs out, the same edit is made in smaller pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tokenflow_engine import EditRequest, TokenFlowError, edit
from tokenflow_engine.client.errors import is_out_of_memory
from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.phases.memory_plan import PLANS, MemoryBudget, level_for
from tokenflow_engine.phases.memory_probe import fitting_level, largest_call
from tokenflow_engine.phases.meter import ProgressMeter
from tokenflow_engine.phases.prepare import prepare, shelf
from tokenflow_engine.phases.run import EditRun
from tokenflow_engine.toyworld import sample_clip

SIZE, FRAMES = 64, 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = {"look": "red", "shape": "ball", "ground": "grass", "sky": "blue"}
    frames = sample_clip(11, "roll", FRAMES, SIZE, SIZE, **scene).frames
    return write_numbered(tmp_path_factory.mktemp("clip"), frames)


@pytest.fixture
def request_in(clip: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], EditRequest]:
    def build(folder: Path) -> EditRequest:
        monkeypatch.setenv("TOKENFLOW_CACHE", str(folder / "cache"))
        return EditRequest(
            source=str(clip),
            prompt="a blue ball on grass under a blue sky",
            source_prompt="a red ball on grass under a blue sky",
            output=str(folder / "out"),
            steps=2,
            inversion_steps=2,
            chunk=3,
            pnp_attention=0.5,
            device="cpu",
        )

    return build


def pictures(folder: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(p)) for p in sorted(Path(folder).glob("*.png"))])


@contextmanager
def room_for(samples: int, frames: int = 99) -> Iterator[list[int]]:
    """The real UNet and decoder, out of memory for larger batches; yields the batches that fit."""
    model = shelf.model("embedded", torch.device("cpu"), torch.float32)
    fitted: list[int] = []

    def check(limit: int) -> Callable[[Any, Any], None]:
        def before(module: Any, inputs: Any) -> None:
            if len(inputs[0]) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            fitted.append(len(inputs[0]))

        return before

    hooks = [
        model.unet.register_forward_pre_hook(check(samples)),
        model.vae.decoder.register_forward_pre_hook(check(frames)),
    ]
    try:
        yield fitted
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("mode", ["smooth", "reference"])
def test_a_smaller_plan_gives_the_same_pictures_but_for_rounding(
    mode: str, request_in: Callable[[Path], EditRequest], tmp_path: Path
) -> None:
    whole = edit(replace(request_in(tmp_path / "whole"), mode=mode))
    assert not any("Memory" in warning for warning in whole.warnings)
    with room_for(samples=2, frames=1) as fitted:
        pieces = edit(replace(request_in(tmp_path / "pieces"), mode=mode))
    assert max(fitted) == 2
    assert any("Memory was short" in warning for warning in pieces.warnings)
    written = json.loads((Path(pieces.output) / "edit.json").read_text())["result"]
    assert list(pieces.warnings) == written["warnings"]
    difference = pictures(whole.output).astype(int) - pictures(pieces.output)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.01


def test_only_when_the_smallest_plan_fails_the_edit_does_and_leaves_nothing(
    request_in: Callable[[Path], EditRequest], tmp_path: Path
) -> None:
    request = request_in(tmp_path)
    with room_for(samples=0), pytest.raises(TokenFlowError) as failed:
        edit(request)
    assert failed.value.code == "out_of_memory"
    assert "smaller size" in failed.value.remedy
    assert not Path(request.output).exists()
    assert edit(request).frame_count == FRAMES, "the engine goes on after it"


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    def broken(plan: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    budget = MemoryBudget()
    with pytest.raises(RuntimeError, match="mat1"):
        budget.attempt(broken)
    assert budget.level == 0
    said = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: ..."
    assert is_out_of_memory(RuntimeError(said))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("out of memory"))


def test_each_plan_is_smaller_and_the_last_does_a_frame_at_a_time() -> None:
    calls = [plan.at_once(64) for plan in PLANS]
    assert calls == sorted(calls, reverse=True)
    assert calls[-1] == 1
    budget = MemoryBudget(level=1)
    cut = budget.pieces(5, lambda part: list(range(5))[part])
    assert cut == [[0, 1, 2], [3, 4]]


def test_the_probe_chooses_the_largest_calls_that_fit() -> None:
    gigabyte = 10**9
    # 1.5 GB for whatever the batch is, and half a gigabyte for each of its frames.
    measured = {"for_one": 2 * gigabyte, "for_two": 5 * gigabyte // 2, "frames": 16}
    assert level_for(12 * gigabyte, **measured) == 0
    assert level_for(6 * gigabyte, **measured) == 1
    assert level_for(4 * gigabyte, **measured) == 2
    assert level_for(3 * gigabyte, **measured) == len(PLANS) - 1
    assert level_for(0, **measured) == len(PLANS) - 1


@pytest.fixture
def run(request_in: Callable[[Path], EditRequest], tmp_path: Path) -> EditRun:
    meter = ProgressMeter({})
    with meter.phase("prepare"):
        return prepare(request_in(tmp_path).validated().resolved(), meter)


def test_the_probe_makes_one_call_of_two_frames_and_one_of_one(run: EditRun) -> None:
    asked: list[int] = []
    megabyte = 2**20

    with room_for(samples=2) as fitted:

        def peak_of(work: Callable[[], None]) -> int:
            work()
            asked.append(fitted[-1])
            return (3 + 2 * fitted[-1]) * megabyte

        # Two keyframes of three branches each: 3 + 2 * 6 MiB.
        assert largest_call(run) == 6
        assert fitting_level(run, 15 * megabyte, peak_of) == 0
        assert fitting_level(run, 14 * megabyte, peak_of) == 1
        assert fitting_level(run, 0, peak_of) == len(PLANS) - 1
    assert asked == [2, 1] * 3
    assert fitted == asked


def test_the_probe_counts_what_a_run_will_really_call(run: EditRun) -> None:
    def calls(**changes: Any) -> int:
        return largest_call(replace(run, request=replace(run.request, **changes)))

    assert calls(last_phase="invert") == 3
    assert calls(chunk=8) == 16
    without_source = replace(run, plan=replace(run.plan, attention_steps=0, feature_steps=0))
    assert largest_call(without_source) == 6, "a chunk's frames in both branches"


def test_where_two_frames_find_no_memory_the_smallest_plan_is_taken(run: EditRun) -> None:
    def peak_of(work: Callable[[], None]) -> int:
        work()
        return 0

    with room_for(samples=1):
        assert fitting_level(run, 10**9, peak_of) == len(PLANS) - 1

    def broken(work: Callable[[], None]) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        fitting_level(run, 10**9, broken)


def test_a_cpu_is_not_probed(request_in: Callable[[Path], EditRequest], tmp_path: Path) -> None:
    meter = ProgressMeter({})
    with room_for(samples=99) as fitted, meter.phase("prepare"):
        made = prepare(request_in(tmp_path).validated().resolved(), meter)
    assert fitted == []
    assert made.memory.level == 0
