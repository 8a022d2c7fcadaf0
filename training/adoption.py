"""Going on from an exported checkpoint where the folder of the run itself is gone."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from .denoiser import Denoiser
from .plan import Plan
from .state import save_checkpoint
from .tokenizer import load_tokenizer

RECORD = "training.json"
"""In an exported model's folder: `seen`, the samples that its UNet has learnt from, and
`guidance_gain`, which the engine reads."""


def write_record(plan: Plan, folder: Path, seen: int) -> None:
    """Leaves beside an exported model how far its training had come and how to guide it."""
    record = {"seen": seen, "guidance_gain": plan.guidance_gain}
    (folder / RECORD).write_text(json.dumps(record) + "\n")


def adopt(plan: Plan, state: Path, folder: Path) -> None:
    """Makes `state` the state of a run whose checkpoint was exported to `folder`.

    The autoencoder is taken as finished; weights and their moving average both start from the
    exported average, whose half precision costs nothing that a few steps do not mend. AdamW's
    moments start anew (`train_unet` warms the rate up again).

    Raises FileNotFoundError when `folder` holds no exported model, FileExistsError when `state`
    already holds a run.
    """
    if (state / "unet.pt").exists() or (state / "autoencoder.pt").exists():
        raise FileExistsError(f"{state} already holds a run; it goes on from there by itself.")
    if not (folder / RECORD).is_file():
        raise FileNotFoundError(f"{folder} holds no model that this program has exported.")
    seen = int(json.loads((folder / RECORD).read_text())["seen"])
    state.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder / "tokenizer", state / "tokenizer", dirs_exist_ok=True)
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    save_checkpoint(state / "autoencoder.pt", {"weights": vae.state_dict()})
    denoiser = Denoiser(plan, load_tokenizer(plan, state))
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32)
    denoiser.unet.load_state_dict(unet.state_dict())
    denoiser.text_encoder.load_state_dict(text_encoder.state_dict())
    weights = denoiser.state_dict()
    save_checkpoint(
        state / "unet.pt",
        {
            "weights": weights,
            "average": copy.deepcopy(weights),
            "optimizer": None,
            "step": seen // (2 * plan.small_batch),
            "seen": seen,
            "begun": seen,
            "seconds": 0.0,
        },
    )
