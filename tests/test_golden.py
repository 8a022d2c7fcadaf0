"""Mode "reference" gives the numbers of the authors' code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden_runs import CASES, EDITORS, GOLDEN, GoldenCase, relative_error
from safetensors.torch import load_file

from tokenflow_engine.diffusion.model import load_model
from tokenflow_engine.diffusion.prompts import embed
from tokenflow_engine.phases.correspond import FramesOfStep, correspond
from tokenflow_engine.phases.joint_edit import edit_latents, initial_latents
from tokenflow_engine.tokenflow.wiring import tokenflow

TOLERANCE = 1e-4
PICTURES = Path(__file__).resolve().parents[2] / "shared" / "golden-a" / "clips"


@pytest.mark.parametrize("name", CASES)
def test_prompts_become_the_recorded_tokens_and_embeddings(name: str) -> None:
    case = GoldenCase(name)
    model = load_model(str(GOLDEN / "pipeline"), torch.device("cpu"), torch.float32)
    for prompt, ids in case.facts["token_ids"].items() if "token_ids" in case.facts else ():
        ours = model.tokenizer(prompt, padding="max_length", truncation=True).input_ids
        assert ours == ids
    recorded = case.arrays("pnp")["text_embeds"]
    for prompt, theirs in zip(
        (case.facts["negative_prompt"], case.facts["prompt"]), recorded, strict=True
    ):
        assert relative_error(embed(model, prompt)[0], theirs) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_inversion_follows_the_recorded_trajectory(name: str, tmp_path: Path) -> None:
    case = GoldenCase(name)
    run = case.run("pnp", tmp_path)
    inversion = case.invert(run, tmp_path / "inversion")
    for key, theirs in case.arrays("inversion").items():
        if key.startswith("noisy/"):
            ours = inversion.at(int(key.removeprefix("noisy/")), slice(None))
            assert relative_error(ours, theirs) < TOLERANCE, key


@pytest.mark.parametrize("editor", EDITORS)
@pytest.mark.parametrize("name", CASES)
def test_edit_follows_the_recorded_trajectory(name: str, editor: str, tmp_path: Path) -> None:
    case = GoldenCase(name)
    run = case.run(editor, tmp_path)
    inversion = case.invert(run, tmp_path / "inversion")
    recorded = case.arrays(editor)
    assert relative_error(initial_latents(run, inversion), recorded["x_init"]) < TOLERANCE

    errors: dict[str, float] = {}

    def compare(step: int, latents: torch.Tensor) -> None:
        key = f"x/{step:02d}"
        if key in recorded:
            errors[key] = relative_error(latents, recorded[key])

    with tokenflow(run.model.unet) as wiring, torch.inference_mode():
        edit_latents(run, wiring, inversion, correspond(run, wiring, inversion), compare)
    assert sorted(errors) == sorted(key for key in recorded if key.startswith("x/"))
    assert max(errors.values()) < TOLERANCE, errors


def test_correspondence_fields_are_the_recorded_ones(tmp_path: Path) -> None:
    case = GoldenCase("wolf8")
    run = case.run("pnp", tmp_path)
    inversion = case.invert(run, tmp_path / "inversion")
    with tokenflow(run.model.unet) as wiring, torch.inference_mode():
        fields = correspond(run, wiring, inversion)
    compared = 0
    for key, theirs in case.arrays("ops").items():
        kind, step, *where = key.split("/")
        if kind != "nn":
            continue
        batch, layer, side = where
        start = int(batch.removeprefix("batch")) * run.request.chunk
        frames = list(range(start, start + len(theirs)))
        found, _ = fields.of(FramesOfStep(int(step), tuple(frames), features=False))
        ours = found[f"{layer}.transformer_blocks.0"]
        assert torch.equal(ours[:, 0 if side == "cur" else 1], theirs.long()), key
        compared += 1
    assert compared == 96


@pytest.mark.parametrize("name", CASES)
def test_command_line_follows_the_trajectory_from_the_pictures(name: str, tmp_path: Path) -> None:
    if not PICTURES.is_dir():
        pytest.skip("the recorded clip's pictures are not in the repository")
    case = GoldenCase(name)
    facts = case.facts
    schedule = tmp_path / "keyframes.json"
    schedule.write_text(json.dumps(facts["pnp"]["keyframes_per_step"]))
    options = {
        "prompt": facts["prompt"],
        "negative-prompt": facts["negative_prompt"],
        "source-prompt": facts["inversion_prompt"],
        "output": tmp_path / "out",
        "model": GOLDEN / "pipeline",
        "editor": "pnp",
        "steps": facts["pnp"]["n_timesteps"],
        "inversion-steps": facts["inversion"]["steps"],
        "chunk": facts["pnp"]["batch_size"],
        "mode": "reference",
        "dtype": "float32",
        "keyframe-schedule": schedule,
        "trajectory": tmp_path / "trajectory.safetensors",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tokenflow_engine", "edit", str(PICTURES / name), "--json"]
        + [text for key, value in options.items() for text in (f"--{key}", str(value))],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "TOKENFLOW_CACHE": str(tmp_path / "cache")},
        cwd=Path(__file__).resolve().parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["frame_count"] == facts["n_frames"]
    ours = load_file(tmp_path / "trajectory.safetensors")
    for key, theirs in case.arrays("inversion").items():
        if key.startswith("noisy/"):
            timestep = int(key.removeprefix("noisy/"))
            assert relative_error(ours[f"inversion.t{timestep}"], theirs) < TOLERANCE, key
    for key, theirs in case.arrays("pnp").items():
        if key.startswith("x/"):
            step = int(key.removeprefix("x/"))
            assert relative_error(ours[f"edit.step{step:03d}"], theirs) < TOLERANCE, key
