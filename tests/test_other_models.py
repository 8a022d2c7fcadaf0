"""Mode "reference" agrees with a plain implementation on models unlike the recorded one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from golden_runs import GOLDEN, relative_error
from PIL import Image
from safetensors.torch import load_file

from tokenflow_engine import EditRequest, edit
from tokenflow_engine.benchmark.plain_tokenflow import PlainModel, plain_edit
from tokenflow_engine.diffusion.autoencoder import encode
from tokenflow_engine.diffusion.model import load_model
from tokenflow_engine.diffusion.prompts import embed
from tokenflow_engine.tokenflow.keyframes import draw_schedule

LAYOUTS: dict[str, dict[str, Any]] = {
    "SD 2.1 base": {"use_linear_projection": True, "attention_head_dim": [2, 4, 4, 4]},
    "SD 2.1": {
        "use_linear_projection": True,
        "attention_head_dim": [2, 4, 4, 4],
        "upcast_attention": True,
        "prediction_type": "v_prediction",
    },
    "four heads": {"attention_head_dim": 4, "norm_num_groups": 4},
}


def write_pipeline(folder: Path, layout: dict[str, Any]) -> None:
    """The recorded pipeline with another, random UNet."""
    shutil.copytree(GOLDEN / "pipeline", folder)
    shutil.rmtree(folder / "unet")
    config = dict(layout)
    prediction_type = config.pop("prediction_type", "epsilon")
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        **(
            {
                "sample_size": 8,
                "block_out_channels": (16, 32, 32, 32),
                "cross_attention_dim": 32,
                "norm_num_groups": 8,
            }
            | config
        )
    )
    unet.save_pretrained(folder / "unet")
    path = folder / "scheduler" / "scheduler_config.json"
    scheduler = json.loads(path.read_text()) | {"prediction_type": prediction_type}
    path.write_text(json.dumps(scheduler))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reference_mode_agrees_with_the_plain_implementation(layout: str, tmp_path: Path) -> None:
    frame_count, chunk, steps, size = 7, 3, 4, (72, 64)
    write_pipeline(tmp_path / "model", LAYOUTS[layout])
    (tmp_path / "clip").mkdir()
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (9, 9 + frame_count, 3), np.uint8)
    for i in range(frame_count):
        picture = Image.fromarray(still[:, i : i + 9]).resize(size)
        picture.save(tmp_path / "clip" / f"{i:04d}.png")

    schedule = draw_schedule(frame_count, chunk, steps, seed=2)
    (tmp_path / "keyframes.json").write_text(json.dumps(schedule))
    request = EditRequest(
        source=str(tmp_path / "clip"),
        prompt="a shiny silver robotic wolf",
        negative_prompt="ugly",
        source_prompt="a wolf",
        output=str(tmp_path / "out"),
        model=str(tmp_path / "model"),
        mode="reference",
        steps=steps,
        inversion_steps=steps,
        chunk=chunk,
        dtype="float64",
        keyframe_schedule=str(tmp_path / "keyframes.json"),
        trajectory=str(tmp_path / "trajectory.safetensors"),
    )
    edit(request)
    ours = load_file(tmp_path / "trajectory.safetensors")

    model = load_model(str(tmp_path / "model"), torch.device("cpu"), torch.float64)
    frames = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "clip").iterdir())]
    with torch.inference_mode():
        theirs = plain_edit(
            PlainModel(
                model.unet,
                torch.tensor(model.schedule.alphas_cumprod, dtype=torch.float64),
                model.schedule.prediction_type,
            ),
            encode(model, np.stack(frames)),
            (embed(model, "a wolf"), embed(model, "ugly"), embed(model, request.prompt)),
            steps,
            chunk,
            [list(row) for row in schedule],
            request.guidance_scale,
        )
    for step, latents in enumerate(theirs):
        assert relative_error(ours[f"edit.step{step:03d}"], latents) < 1e-6
