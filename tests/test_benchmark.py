"""What `tokenflow bench` counts, compares and writes; no test here looks at a clock."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden_runs import GOLDEN
from test_diffusion import CPU

from tokenflow_engine.benchmark import bench as module
from tokenflow_engine.benchmark.bench import (
    BARS,
    EQUAL_PSNR,
    ROWS,
    UNMEASURED_STEPS,
    Bench,
    BenchSettings,
    run_bench,
)
from tokenflow_engine.benchmark.loop_rate import LoopRate, LoopSize, measure_loop, synthetic_run
from tokenflow_engine.benchmark.operations import count_operations
from tokenflow_engine.benchmark.plain_way import PlainTimes, time_plain_way
from tokenflow_engine.benchmark.plots import line_chart
from tokenflow_engine.benchmark.random_models import random_sd15
from tokenflow_engine.benchmark.reconstruction import (
    Reconstruction,
    Reconstructions,
    measure_reconstruction,
)
from tokenflow_engine.benchmark.report import files, meets, table
from tokenflow_engine.benchmark.timing import Seconds
from tokenflow_engine.benchmark.whole_edits import WholeEdits
from tokenflow_engine.client.progress import EditResult
from tokenflow_engine.command_line import bench as command
from tokenflow_engine.diffusion.model import DiffusionModel, load_model

SMALL = LoopSize(frames=5, chunk=2, steps=2, size=64, repeats=2)


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return load_model(str(GOLDEN / "pipeline"), CPU, torch.float32)


def test_operations_are_twice_the_multiplications_with_attention_among_them() -> None:
    queries = torch.randn(2, 4, 64, 8)
    keys = torch.randn(2, 4, 32, 8)
    both = count_operations(lambda: F.scaled_dot_product_attention(queries, keys, keys))
    assert both == 2 * (2 * 2 * 4 * 64 * 32 * 8)
    linear = torch.nn.Linear(16, 32, bias=False)
    with torch.inference_mode():
        assert count_operations(lambda: linear(torch.randn(5, 16))) == 2 * 5 * 16 * 32


def test_the_loop_is_measured_beside_the_same_calls_of_the_bare_unet(
    model: DiffusionModel, tmp_path: Path
) -> None:
    rate = measure_loop(model, SMALL, tmp_path)
    # Three keyframes a step; a chunk of two and a rest without them.
    frames = sum(batch * calls for batch, calls in rate.batches.items())
    steps, keyframes, others = SMALL.steps, 3, 2
    source, injected = keyframes + others, 1
    assert frames == steps * (source + 2 * (keyframes + others)) + injected * keyframes
    # Propagation leaves out self-attention, the search and extended attention bring some back.
    assert 0.5 < rate.operations / rate.bare_operations < 1.5
    assert rate.loop.wall > 0 and rate.bare.cpu > 0
    written = rate.to_json()
    assert written["ratio_by_wall_clock"] == pytest.approx(rate.ratio(), abs=1e-3)
    assert set(written["seconds_by_phase"]) == {"correspond", "edit"}


def test_a_rate_is_operations_over_time_on_both_sides() -> None:
    bare = Seconds(4.0, 2.0)
    rate = LoopRate(SMALL, {"edit": Seconds(2.0, 2.0)}, {2: 1}, 100, bare, 100)
    assert rate.ratio() == 2.0
    assert rate.ratio("cpu") == 1.0


def test_measuring_leaves_the_unet_as_it_was(model: DiffusionModel, tmp_path: Path) -> None:
    before = {name: type(p) for name, p in model.unet.attn_processors.items()}
    measure_loop(model, SMALL, tmp_path)
    run = synthetic_run(model, SMALL, tmp_path)
    plain = time_plain_way(run)
    assert {name: type(p) for name, p in model.unet.attn_processors.items()} == before
    assert not model.unet._forward_pre_hooks
    assert all("forward" not in vars(module) for module in model.unet.modules()), (
        "the plain way's forwards stayed on the UNet"
    )
    step, total = plain.inversion_step, plain.total
    assert total.wall == pytest.approx(1000 * step.wall + 50 * plain.edit_step.wall)


def test_the_random_unet_has_the_size_of_stable_diffusion() -> None:
    with torch.device("meta"):
        unet = random_sd15(torch.device("meta"), torch.float32).unet
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964


def test_reconstruction_by_implicit_steps_comes_nearer_the_autoencoder() -> None:
    model = load_model("embedded", CPU, torch.float32)
    curves = (("ddim", (10,)), ("implicit", (10,)))
    found = measure_reconstruction(model, 1, 64, lambda line: None, curves)
    plain, ours = found.points
    assert plain.psnr < ours.psnr < found.roundtrip_psnr + 0.5
    assert plain.calls == 10 <= ours.calls


@pytest.fixture
def finished() -> Bench:
    """A run's results, with figures made up."""
    point = {"solver": "ddim", "steps": 500, "calls": 500, "psnr": 33.0, "own_psnr": 33.0}
    other = {"solver": "implicit", "steps": 50, "calls": 59, "psnr": 33.1, "own_psnr": 33.1}
    machine = {"device": "cpu", "cores": 2, "torch": "2", "load_average": 0.1}
    bench = Bench(machine, {})
    measured = {"clips": 1, "roundtrip_psnr": 33.2, "points": [point, other]}
    bench.add("reconstruction_gap_50_to_500", -0.1, measured)
    bench.add("second_prompt_ratio", 0.6, {})
    run = {"processes": 1, "seconds": 9.0, "seconds_in_unet": 8.0, "speed_up": 1.0}
    runs = [run, run | {"processes": 2, "speed_up": 1.6}]
    both = {"frames": 16, "size": 128, "steps": 10, "chunk": 4, "cores": 2, "runs": runs}
    bench.add("two_processes_speed_up", 1.6, both)
    return bench


def test_the_page_says_which_bars_are_missed_and_that_no_gpu_was_there(finished: Bench) -> None:
    written = files(finished)
    page = written["performance.md"]
    assert "No figure here was measured on a GPU" in page
    rows = {row.split("`")[1]: row for row in table(finished) if "`" in row}
    assert "**missed**" in rows["second_prompt_ratio"]
    assert "**missed**" not in rows["reconstruction_gap_50_to_500"]
    assert "reconstruction.svg" in page
    for plot in ("reconstruction.svg", "processes.svg"):
        assert ElementTree.fromstring(written[plot]).tag.endswith("svg")
    assert rows["two_processes_speed_up"].endswith("| 1.6 | | |")
    values = json.loads(written["performance.json"])
    assert values["second_prompt_ratio"] == 0.6
    assert "second_prompt_ratio" in values["measured"]


def test_the_fewest_steps_that_reconstruct_as_well_are_found_whatever_their_order() -> None:
    def points(*psnr: tuple[str, int, float]) -> Reconstructions:
        found = (Reconstruction(name, steps, 1, value, value) for name, steps, value in psnr)
        return Reconstructions(1, 64, 35.7, tuple(found))

    plain = ("ddim", 500, 35.37)
    implicit = [("implicit", 25, 35.6), ("implicit", 15, 35.28), ("implicit", 12, 34.7)]
    assert points(*implicit, plain).fewest_steps("implicit", EQUAL_PSNR, 1) == 15
    assert points(*implicit, plain).fewest_steps("implicit", EQUAL_PSNR, 16) == 25
    assert points(plain, *implicit[2:]).fewest_steps("implicit", EQUAL_PSNR, 1) is None


@pytest.mark.parametrize(
    ("gap", "equal_steps", "steps", "words"),
    [
        (-0.2, 16, 16, "16 steps are the fewest of those above, from 16 on"),
        (-0.2, 25, 25, "25 steps are the fewest of those above"),
        (0.5, None, 50, "No number of steps above"),
        (None, None, UNMEASURED_STEPS, "Reconstruction was not measured in this run"),
    ],
)
def test_whole_edits_are_compared_at_the_steps_of_equal_reconstruction_beside_all_rows(
    gap: float | None,
    equal_steps: int | None,
    steps: int,
    words: str,
    finished: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phases = {"prepare": 1.0, "invert": 2.0, "correspond": 1.0, "edit": 2.0, "decode": 1.0}
    result = EditResult("out", 16, 64, 64, None, seconds=phases, reconstruction_psnr=33.0)

    def edits(folder: Path, frames: int, size: int, count: int, device: str) -> WholeEdits:
        request = SimpleNamespace(steps=count, inversion_steps=count, chunk=8)
        run: Any = SimpleNamespace(request=request, frame_count=frames, size=(size, size))
        seconds = Seconds(float(count), 1.0), Seconds(count / 2, 1.0)
        return WholeEdits(run, (result, result), seconds)

    monkeypatch.setattr(module, "time_whole_edits", edits)
    monkeypatch.setattr(
        module, "time_plain_way", lambda run: PlainTimes(Seconds(1.0, 1.0), Seconds(2.0, 2.0))
    )
    if gap is None:
        del finished.figures["reconstruction_gap_50_to_500"]
        del finished.measured["reconstruction_gap_50_to_500"]
    finished.equal_steps = equal_steps
    module.PARTS["edits"](finished, BenchSettings(("edits",)), CPU, tmp_path, lambda line: None)
    figures = finished.figures
    assert figures["end_to_end_steps"] == steps
    # 500 steps down and back at a second, 50 of the edit at two, and our reading and decoding.
    assert figures["end_to_end_ratio"] == pytest.approx((1000 + 100 + 2) / steps, abs=1e-3)
    assert figures["second_prompt_ratio"] == 0.5
    written = files(finished)
    assert json.loads(written["performance.json"])["end_to_end_steps"] == steps
    page = written["performance.md"]
    assert words in page and "fewer denoising steps" in page and "16 steps" in page
    assert all(f"| {count}+{count} " in page for count in {*ROWS, steps})
    assert f"| {steps}+{steps} (`end_to_end_ratio`) |" in page


def test_no_number_meets_no_bar() -> None:
    assert not any(meets(float("nan"), sign, bar) for sign, bar in BARS.values())
    assert meets(0.9, ">=", 0.9) and not meets(0.1, "<", 0.1)


def test_a_chart_holds_every_series_and_point() -> None:
    text = line_chart(
        {"a & b": [(10, 1.0), (100, 2.0)], "c": [(50, 1.5)]}, "x", "y", log_across=True
    )
    drawn = ElementTree.fromstring(text)
    assert len(drawn.findall("{*}circle")) == 3
    assert "a & b" in [node.text for node in drawn.findall("{*}text")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--parts", "embedded,gpu"], "no part 'gpu'"),
        (["--frames", "1"], "at least 2"),
        (["--sd-size", "100"], "multiple of 8"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_run_measures_the_parts_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(bench: Bench, *_: Any) -> None:
        bench.add("second_prompt_ratio", 0.4, {"frames": 2})

    monkeypatch.setitem(
        __import__("tokenflow_engine.benchmark.bench", fromlist=["PARTS"]).PARTS, "edits", part
    )
    left: list[Bench] = []
    bench = run_bench(BenchSettings(("edits",)), tmp_path, lambda line: None, left.append)
    assert bench.figures == {"second_prompt_ratio": 0.4}
    assert left == [bench], "each part is told when it is measured"
    assert bench.machine["cores"] >= 1
