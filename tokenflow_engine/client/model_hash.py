"""What names a model wherever it lies: a hash of its weights, configurations and vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar, cast

from .single_file import configuration_of, is_single_file

EMBEDDED = Path(__file__).resolve().parent.parent / "models" / "embedded"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_HASHED = (".safetensors", ".json", ".txt")
_BLOCK = 1 << 21

_Result = TypeVar("_Result")


def model_path(name: str) -> Path:
    """The folder, or single file, that a request's `model` means; it need not exist."""
    return EMBEDDED if name == "embedded" else Path(name)


def model_files(model: Path) -> list[tuple[str, Path]]:
    """All files that a model consists of, each under the name it has within the model.

    Empty where there is no model. A single file counts with its configuration, whose folder may
    hold weights as well: those are not its own.
    """
    if not is_single_file(model):
        return [
            (f"{part}/{path.name}", path)
            for part in PARTS
            for path in sorted((model / part).glob("*"))
            if path.suffix in _HASHED
        ]
    configuration = configuration_of(model)
    files = [] if configuration is None else model_files(configuration)
    return [("weights", model), *((n, p) for n, p in files if p.suffix != ".safetensors")]


def fingerprint(folder: Path) -> str:
    """Hash, hexadecimal, of a model; the folder's or file's name is left out.

    Reads every byte: a few seconds for a full Stable Diffusion model.

    Raises:
        OSError: a file cannot be read.
    """
    return result_of(hashing_steps(folder))


def result_of(steps: Generator[None, None, _Result]) -> _Result:
    """What a piece of work in steps returns, all of them taken at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(_Result, end.value)


def hashing_steps(folder: Path) -> Generator[None, None, str]:
    """The same hash, made in steps of some milliseconds; it is what the generator returns.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, path in model_files(folder):
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                yield
    return digest.hexdigest()
