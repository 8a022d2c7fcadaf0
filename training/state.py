"""The folder that a training run lives in: survives a kill at any moment."""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

ENVIRONMENT = "TOKENFLOW_TRAINING_STATE"


def default_state() -> Path:
    """The user-level folder, outside any checkout; the environment variable moves it."""
    chosen = os.environ.get(ENVIRONMENT)
    return Path(chosen) if chosen else Path.home() / ".cache" / "tokenflow_edit" / "training"


def _replace(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}")


def save_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Writes tensors and numbers; the old file stays whole until the new one is."""
    temporary = _replace(path)
    torch.save(dict(checkpoint), temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved checkpoint, or None when there is none yet."""
    if not path.exists():
        return None
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def save_arrays(path: Path, **arrays: Any) -> None:
    """Writes an uncompressed .npz that is either whole or absent."""
    temporary = _replace(path)
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)


def log(path: Path, row: Mapping[str, float | int]) -> None:
    """Appends one row to a CSV curve and prints it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    shown = {
        name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()
    }
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, shown)
        if is_new:
            writer.writeheader()
        writer.writerow(shown)
    print(path.stem, *(f"{name} {value}" for name, value in shown.items()), flush=True)


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Holds the folder for one run; raises BlockingIOError when another run holds it."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
