"""A model in one `.safetensors` file, and the folder that says how its networks are built.

Such a file holds weights alone. Sizes of the networks, the vocabulary and the noise schedule are a
few small files in diffusers layout, which stand beside it:

    looks/dreamy.safetensors
    looks/dreamy/model_index.json, unet/config.json, tokenizer/vocab.json ...

A file that lies in a repository in diffusers layout, as they are published, finds them there.
"""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".safetensors"
INDEX = "model_index.json"


def is_single_file(model: Path) -> bool:
    """Whether a request's model is one file of weights instead of a folder."""
    return model.suffix == SUFFIX and model.is_file()


def configuration_place(file: Path) -> Path:
    """The folder of the file's own name, where its configuration is looked for and put."""
    return file.with_suffix("")


def configuration_of(file: Path) -> Path | None:
    """The folder with the file's configuration; None if there is none."""
    places = (configuration_place(file), file.parent)
    return next((place for place in places if (place / INDEX).is_file()), None)
