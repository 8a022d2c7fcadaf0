"""A compiled UNet: the same edits but for rounding, only where that repays, and left as it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_edit import cache, clip, pictures, request_for  # noqa: F401
from test_other_models import write_pipeline

from tokenflow_engine import EditRequest, TokenFlowError, edit
from tokenflow_engine.client.errors import Cancelled
from tokenflow_engine.client.progress import Progress
from tokenflow_engine.diffusion.compiled import KERNELS, compiled_blocks
from tokenflow_engine.diffusion.model import load_model
from tokenflow_engine.phases import compiling, prepare
from tokenflow_engine.phases.cache import PhaseCache
from tokenflow_engine.phases.compiling import (
    COMPILING_SECONDS,
    LEAST_SAVED,
    SHARE_SAVED,
    CannotCompile,
    Trial,
    may_repay,
)
from tokenflow_engine.phases.meter import ProgressMeter
from tokenflow_engine.phases.run import EditRun
from tokenflow_engine.tokenflow.wiring import injected_block

Build = Callable[..., EditRequest]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")

with_compiler = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))),
    reason="torch.compile needs a C++ compiler on a CPU",
)

SHALLOW = {"layers_per_block": 1, "block_out_channels": (16, 32, 32, 32), "norm_num_groups": 4}
"""Few blocks, since the compiler takes seconds for each."""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the compiler keeps, for all tests here."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "shallow"
    write_pipeline(folder, SHALLOW)
    return str(folder)


@pytest.fixture
def short(
    request_for: Build,  # noqa: F811
    model: str,
    kernels: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> EditRequest:
    """An edit with calls of two frames at least."""
    monkeypatch.setattr(PhaseCache, "compiled", kernels)
    return request_for(model=model, steps=2, inversion_steps=2, chunk=4, mode="paper")


@with_compiler
def test_a_compiled_edit_is_the_same_but_for_rounding_and_runs_compiled_throughout(
    short: EditRequest, tmp_path: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str, **changes: Any) -> tuple[np.ndarray, dict[str, Any]]:
        result = edit(replace(short, output=str(tmp_path / name), **changes))
        written = json.loads((tmp_path / name / "edit.json").read_text())
        return pictures(result.output).astype(int), written

    plain, said = made("plain")
    assert said["compiled"] is False
    assert not list(kernels.iterdir()), "nothing is compiled unasked on a CPU"

    stance = torch.compiler.set_stance
    monkeypatch.setattr(torch.compiler, "set_stance", lambda _: stance("fail_on_recompile"))
    compiled, said = made("compiled", compile="always")
    assert said["compiled"] is True
    assert np.abs(plain - compiled).max() <= 1
    inversions = list((tmp_path / "cache" / "invert").iterdir())
    assert len(inversions) == 2, "one by a plain UNet would round otherwise"

    kept = set(kernels.rglob("*.so"))
    assert kept
    (tmp_path / "cache").rename(tmp_path / "emptied")
    again, _ = made("again", compile="always")
    assert np.array_equal(compiled, again)
    assert set(kernels.rglob("*.so")) == kept, "what is kept is not compiled anew"


@with_compiler
def test_a_cancel_is_noticed_at_the_next_block_that_is_compiled(
    short: EditRequest, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    frames = 7
    with pytest.raises(Cancelled):
        edit(
            replace(short, compile="always"),
            progress=seen.append,
            cancelled=lambda: bool(seen) and seen[-1].done > frames,
        )
    assert {report.phase for report in seen} == {"prepare"}
    assert seen[-1].done == frames + 1 < seen[-1].total
    assert not Path(short.output).exists()
    unet: Any = prepare.shelf.model(short.model, CPU, torch.float32).unet
    assert not any(isinstance(x, torch._dynamo.OptimizedModule) for x in unet.modules())


def test_a_missing_compiler_is_said_with_the_remedy(
    short: EditRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no C++ compiler was found")

    monkeypatch.setattr(compiling, "_call", fails)
    with pytest.raises(TokenFlowError) as raised:
        edit(replace(short, compile="always"))
    assert raised.value.code == "bad_request"
    assert str(raised.value).startswith("This machine cannot compile the model. Set compile to")
    assert "no C++ compiler" in raised.value.details


def test_the_unet_is_left_exactly_as_it_was(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KERNELS, str(tmp_path / "elsewhere"))
    unet: Any = load_model(model, CPU, torch.float32).unet
    before = dict(unet.named_modules())
    apart = injected_block(unet)
    with pytest.raises(KeyError), compiled_blocks(unet, tmp_path, apart=(apart,)) as blocks:
        inside = dict(unet.named_modules())
        assert len(blocks) > 10
        assert all(any(block is x for x in inside.values()) for block in blocks)
        assert injected_block(unet) is apart
        raise KeyError
    after = dict(unet.named_modules())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert os.environ[KERNELS] == str(tmp_path / "elsewhere")


def test_only_whole_edits_by_one_process_on_a_gpu_may_repay() -> None:
    whole = EditRequest(source="clip", prompt="a cube", output="out")
    assert may_repay(whole, CUDA)
    assert not may_repay(whole, CPU)
    for other in (
        {"processes": 2},
        {"last_phase": "invert"},
        {"piece_frames": 100},
        {"preview_frames": 3},
    ):
        assert not may_repay(replace(whole, **other), CUDA)


def test_an_edit_repays_compiling_by_its_length_unless_a_trial_has_shown_otherwise() -> None:
    enough = int(COMPILING_SECONDS / SHARE_SAVED / 0.01) + 1
    for saved in (None, LEAST_SAVED, 0.5):
        assert Trial(0.01, saved).repays(enough)
        assert not Trial(0.01, saved).repays(enough // 2)
    assert not Trial(0.01, LEAST_SAVED / 2).repays(100 * enough)


class Machine:
    """A GPU that isn't there: what its calls take, and what was done on it.

    seconds: of a frame without and with compiled blocks. works: whether it has a compiler.
    """

    def __init__(self, plain: float, compiled: float, works: bool = True) -> None:
        self.seconds = {False: plain, True: compiled}
        self.works = works
        self.measured = self.compiled = 0

    def seconds_per_frame(self, run: EditRun) -> float:
        self.measured += 1
        return self.seconds[run.compiled]

    def compile_blocks(self, run: EditRun) -> None:
        self.compiled += 1
        if not self.works:
            raise CannotCompile(RuntimeError("no Triton"))


LONG = 1000.0
"""Seconds of a frame with which even the shortest edit is long enough."""


@pytest.fixture
def decide(
    short: EditRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Machine], bool]:
    """Whether an edit is compiled on a machine, which remembers its trials."""
    monkeypatch.setattr(PhaseCache, "compiled", tmp_path / "trials")
    meter = ProgressMeter({})
    with meter.phase("prepare"):
        run = prepare.prepare(short, meter)

    def decided(machine: Machine) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(compiling, "may_repay", lambda *_: True)
            patch.setattr(compiling, "as_compiled", lambda run: nullcontext())
            for name in ("seconds_per_frame", "compile_blocks"):
                patch.setattr(compiling, name, getattr(machine, name))
            return compiling.compiled_where_it_repays(run).compiled

    return decided


def test_a_short_edit_is_not_compiled_and_nothing_is_tried(
    decide: Callable[[Machine], bool],
) -> None:
    machine = Machine(0.001, 0.0005)
    assert not decide(machine)
    assert not machine.compiled
    assert not decide(machine)
    assert machine.measured == 1, "what is known is not measured again"


def test_a_long_edit_is_compiled_where_a_trial_shows_that_it_saves(
    decide: Callable[[Machine], bool],
) -> None:
    machine = Machine(LONG, 0.8 * LONG)
    assert decide(machine)
    trials = machine.measured
    assert decide(machine)
    assert machine.measured == trials, "the trial is kept"
    assert machine.compiled == 2, "each edit has its blocks compiled, or finds them"


@pytest.mark.parametrize("machine", [Machine(LONG, 1.1 * LONG), Machine(LONG, 1.0, works=False)])
def test_where_compiling_saves_nothing_or_fails_it_is_tried_once(
    machine: Machine, decide: Callable[[Machine], bool]
) -> None:
    assert not decide(machine)
    assert machine.compiled == 1
    assert not decide(machine)
    assert machine.compiled == 1


def test_memory_that_runs_out_in_a_trial_leaves_the_edit_as_it_is(
    decide: Callable[[Machine], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(LONG, 0.5 * LONG)

    def full(run: EditRun) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(machine, "compile_blocks", full)
    assert not decide(machine)
