"""Stable Diffusion checkpoints of one `.safetensors` file, read by diffusers' own converter.

diffusers (0.42) looks a missing configuration up on the hub even where `local_files_only` is set:
here it is always given one, and fetched only by `fetch_configuration`, which is asked for by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError, fetch_diffusers_config
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..client.errors import TokenFlowError
from ..client.single_file import SUFFIX, configuration_of, configuration_place

UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    SafetensorError,
    SingleFileComponentError,
)
"""What diffusers and safetensors raise at a file that they can make nothing of."""


def checked_single_file(file: Path) -> Path:
    """The folder with the configuration of a file that may be loaded.

    Raises:
        TokenFlowError: code "unknown_model" for a file that is none, "no_configuration" where that
            folder is missing.
    """
    if file.suffix != SUFFIX:
        raise TokenFlowError(
            "unknown_model",
            f"{file} is no model file.",
            f"Choose a {SUFFIX} file or a folder in diffusers layout.",
        )
    configuration = configuration_of(file)
    if configuration is None:
        raise TokenFlowError(
            "no_configuration",
            f"{file.name} holds weights only, and its configuration is not there.",
            f"Fetch it in the add-on's preferences or by `tokenflow models configure`, or copy a "
            f"model folder's small files to {configuration_place(file)}.",
        )
    return configuration


def load_single_file(
    file: Path, configuration: Path, dtype: torch.dtype, vae_dtype: torch.dtype
) -> Any:
    """The pipeline in a file; one of `UNREADABLE` where that fails."""
    given: dict[str, Any] = {"config": str(configuration), "local_files_only": True}
    vae = AutoencoderKL.from_single_file(str(file), subfolder="vae", torch_dtype=vae_dtype, **given)
    return StableDiffusionPipeline.from_single_file(
        str(file),
        torch_dtype=dtype,
        vae=vae,
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        **given,
    )


def base_model(file: Path) -> str:
    """The hub's name of the model that a file was trained from, told by its tensors' names.

    Raises:
        TokenFlowError: code "unknown_model", if it cannot be read.
    """
    with _explained(file), safe_open(file, framework="pt") as tensors:
        found = fetch_diffusers_config(_Shapes(tensors))
    return str(found["pretrained_model_name_or_path"])


def fetch_configuration(file: Path, fetch: Callable[[str, Path], None]) -> Path:
    """Have the configuration of a file fetched to its place; return that folder.

    fetch: brings a hub model's small files into a folder.

    Raises:
        TokenFlowError: code "unknown_model" if the file cannot be read; and what `fetch` raises.
    """
    place = configuration_place(file)
    if configuration_of(file) == place:
        return place
    if file.suffix != SUFFIX or not file.is_file():
        raise TokenFlowError(
            "unknown_model", f"There is no {SUFFIX} file at {file}.", "Check the path."
        )
    model = base_model(file)
    staging = place.with_name(f".{place.name}.part")
    fetch(model, staging)
    if place.exists():
        shutil.copytree(staging, place, dirs_exist_ok=True)
        shutil.rmtree(staging)
    else:
        staging.replace(place)
    return place


class _Shapes:
    """What diffusers asks a checkpoint when it tells its kind; no weights are read for it."""

    def __init__(self, tensors: Any) -> None:
        self._tensors = tensors
        self._names = frozenset(tensors.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._tensors.get_tensor(name)
        return tensor

    def keys(self) -> frozenset[str]:
        return self._names


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise TokenFlowError(
            "unknown_model",
            f"{file.name} can't be read as a model.",
            "Copy it again, or choose another file.",
            repr(error),
        ) from error
