"""What names a model wherever it lies: a hash of its weights, configurations and vocabulary."""

from __future__ import annotations

import hashlib
from pathlib import Path

EMBEDDED = Path(__file__).resolve().parent.parent / "models" / "embedded"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_HASHED = (".safetensors", ".json", ".txt")
_BLOCK = 1 << 22


def model_path(name: str) -> Path:
    """The folder that a request's `model` means; it need not exist."""
    return EMBEDDED if name == "embedded" else Path(name)


def fingerprint(folder: Path) -> str:
    """Hash, hexadecimal, of a model in diffusers layout; the folder's name is left out.

    Reads every byte: a few seconds for a full Stable Diffusion model.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        for path in sorted((folder / part).glob("*")):
            if path.suffix in _HASHED:
                digest.update(f"{part}/{path.name}\0{path.stat().st_size}\0".encode())
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
    return digest.hexdigest()
