"""Load a Stable Diffusion model: a folder in diffusers layout, or one `.safetensors` file."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from ..client.edit_request import LATENT_CELL
from ..client.errors import TokenFlowError
from ..client.model_hash import PARTS, fingerprint, model_path
from .residence import OneAtATime, settle
from .schedule import NoiseSchedule
from .single_file import UNREADABLE, checked_single_file, load_single_file

WEIGHTS = ("unet", "vae", "text_encoder")
TINY_VAE = "vae_tiny"
"""Folder of a model's tiny autoencoder, which few models have."""

PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


@dataclass
class DiffusionModel:
    """A loaded model, in evaluation mode, for one device.

    dtype: precision of UNet and text encoder; vae_dtype: of the autoencoder, which
        overflows in float16 for many Stable Diffusion checkpoints.
    fingerprint: hash of the weights and configurations, hexadecimal.
    native_size: pixels on a side that the UNet was trained for.
    guidance_gain: how many times less guidance this model wants than Stable Diffusion for the same
        effect, at most 1; what its folder's `training.json` says, or else 1.
    tiny_vae: diffusers' `AutoencoderTiny` out of the folder's `vae_tiny`, which decodes the same
        latents much quicker and less exactly; None where there is none.
    residence: what moves the parts to the device and back; None where all of them lie there.
    """

    folder: Path
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    schedule: NoiseSchedule
    device: torch.device
    dtype: torch.dtype
    vae_dtype: torch.dtype
    fingerprint: str
    native_size: int
    guidance_gain: float = 1.0
    tiny_vae: Any | None = None
    residence: OneAtATime | None = None

    def bring(self, part: str) -> None:
        """Have a part of `WEIGHTS` on the device, as its call would."""
        if self.residence is not None:
            self.residence.bring(part)

    @property
    def latent_dtype(self) -> torch.dtype:
        """Precision of latents between UNet calls; rounding them to half each step would add up."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def predict_noise(self, latents: Tensor, timestep: int, embeddings: Tensor) -> Tensor:
        """Noise in latents (n, 4, h, w), under embeddings (1, L, C)."""
        embeddings = embeddings.expand(len(latents), -1, -1)
        with torch.inference_mode():
            output = self.unet(
                latents.to(self.dtype), timestep, encoder_hidden_states=embeddings
            ).sample
        return self.schedule.noise(output.to(latents.dtype), latents, timestep)


def choose_device(name: str) -> torch.device:
    """The device a request names; "auto" takes the first accelerator that is there.

    Raises:
        TokenFlowError: code "bad_request", for a device this machine lacks.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, present in there.items() if present)
    if not there[name]:
        raise TokenFlowError(
            "bad_request",
            f"This machine has no {name} device that PyTorch can use.",
            'Choose device "auto" or "cpu".',
        )
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision a request names; "auto" is float32 on a CPU and float16 elsewhere.

    Raises:
        TokenFlowError: code "bad_request", for float64 on a device without it.
    """
    if name == "auto":
        name = "float32" if device.type == "cpu" else "float16"
    if name == "float64" and device.type == "mps":
        raise TokenFlowError("bad_request", "This device has no float64.", "Choose float32.")
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def model_folder(name: str) -> Path:
    """The folder or file of a model, checked for completeness before anything is loaded.

    Raises:
        TokenFlowError: "unknown_model" where there is no such model or a part of it is missing,
            "unsafe_model" where its weights are pickles, which can run code when they are opened.
    """
    folder = model_path(name)
    if folder.is_file():
        if folder.suffix in PICKLED:
            raise _pickled(folder)
        checked_single_file(folder)
        return folder
    if not folder.is_dir():
        raise TokenFlowError(
            "unknown_model",
            f"There is no model at {name!r}.",
            'Choose "embedded", a folder with a Stable Diffusion model in diffusers layout, or a '
            ".safetensors file.",
        )
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if not missing:
        for part in WEIGHTS:
            if not any((folder / part).glob("*.safetensors")):
                pickles = [p for p in (folder / part).iterdir() if p.suffix in PICKLED]
                if pickles:
                    raise _pickled(pickles[0])
                missing.append(f"{part}/*.safetensors")
    if missing:
        pickles = [p for p in folder.iterdir() if p.suffix in PICKLED]
        if pickles and len(missing) == len(PARTS):
            raise _pickled(pickles[0])
        raise TokenFlowError(
            "unknown_model",
            f"The model folder {folder} lacks {', '.join(missing)}.",
            "Choose a complete Stable Diffusion model in diffusers layout.",
        )
    return folder


def load_model(name: str, device: torch.device, dtype: torch.dtype) -> DiffusionModel:
    """Load a model; nothing is ever fetched, and pickles are never opened.

    Raises:
        TokenFlowError: see `model_folder`; also "unknown_model" for files that can't be read and
            for models whose UNet is not of Stable Diffusion 1 or 2's kind.
    """
    folder = model_folder(name)
    # Its bars would run into our own progress.
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    vae_dtype = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    read = _read_file if folder.is_file() else _read_folder
    try:
        unet, vae, text_encoder, tokenizer, scheduler = read(folder, dtype, vae_dtype)
        tiny_vae = _read_tiny_vae(folder / TINY_VAE, vae_dtype)
    except UNREADABLE as error:
        raise TokenFlowError(
            "unknown_model",
            f"The model in {folder} can't be read.",
            "Choose a Stable Diffusion 1 or 2 model in diffusers layout, or copy it again.",
            repr(error),
        ) from error
    if unet.config.in_channels != 4 or len(unet.config.up_block_types) != 4:
        raise TokenFlowError(
            "unknown_model",
            f"The model in {folder} is not of Stable Diffusion 1 or 2's kind.",
            "Choose a text-to-image model with four latent channels.",
        )
    parts = dict(zip(WEIGHTS, (unet, vae, text_encoder), strict=True))
    for part in parts.values():
        part.eval().requires_grad_(False)
    if tiny_vae is not None:
        tiny_vae.to(device).eval().requires_grad_(False)
    if device.type == "cuda":
        # Tensor cores take half-precision convolutions in this order only; others get a copy.
        unet.to(memory_format=torch.channels_last)
    return DiffusionModel(
        folder,
        unet,
        vae,
        text_encoder,
        tokenizer,
        NoiseSchedule.of(scheduler),
        device,
        dtype,
        vae_dtype,
        fingerprint(folder),
        int(unet.config.sample_size) * LATENT_CELL,
        guidance_gain(folder),
        tiny_vae,
        settle(parts, device),
    )


SAFE: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
WHOLE = SAFE | {"low_cpu_mem_usage": False}
"""How diffusers' own parts are read; the leaner way asks for a package that we do without."""


def _read_tiny_vae(folder: Path, vae_dtype: torch.dtype) -> Any | None:
    if not folder.is_dir():
        return None
    return AutoencoderTiny.from_pretrained(folder, torch_dtype=vae_dtype, **WHOLE)


def _read_folder(folder: Path, dtype: torch.dtype, vae_dtype: torch.dtype) -> tuple[Any, ...]:
    """UNet, autoencoder, text encoder, tokenizer and scheduler."""
    return (
        UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **WHOLE),
        AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=vae_dtype, **WHOLE),
        CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, **SAFE),
        CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    )


def _read_file(file: Path, dtype: torch.dtype, vae_dtype: torch.dtype) -> tuple[Any, ...]:
    """The same of a single file."""
    configuration = checked_single_file(file)
    pipeline = load_single_file(file, configuration, dtype, vae_dtype)
    return (
        pipeline.unet,
        pipeline.vae,
        pipeline.text_encoder,
        pipeline.tokenizer,
        DDIMScheduler.from_pretrained(configuration / "scheduler", local_files_only=True),
    )


def guidance_gain(folder: Path) -> float:
    """What `training.json` says in a folder of our own training program; 1 elsewhere."""
    try:
        said = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        return min(1.0, max(0.0, float(said["guidance_gain"])))
    except (OSError, ValueError, TypeError, KeyError):
        return 1.0


class ModelShelf:
    """Keeps the last model loaded, so that a second edit need not load it again."""

    def __init__(self) -> None:
        self._key: tuple[str, torch.device, torch.dtype] | None = None
        self._model: DiffusionModel | None = None

    def model(self, name: str, device: torch.device, dtype: torch.dtype) -> DiffusionModel:
        """See `load_model`."""
        key = (name, device, dtype)
        if self._model is None or self._key != key:
            self.release()
            self._model = load_model(name, device, dtype)
            self._key = key
        return self._model

    def release(self) -> None:
        """Free the model's memory."""
        self._model = self._key = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _pickled(path: Path) -> TokenFlowError:
    return TokenFlowError(
        "unsafe_model",
        f"{path.name} is a pickle, which can run code when it is opened.",
        "Use the same model's .safetensors files.",
    )
