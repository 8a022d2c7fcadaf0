"""What this engine can do: told without loading torch, unless the devices are asked for."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from ..client.edit_request import DTYPES, EDITORS, MODES

_PACKAGE = Path(__file__).resolve().parent.parent
_MODEL_INDEX = "model_index.json"


def capabilities(devices: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The reply to `capabilities`; `devices` is None while they have not been looked for."""
    return {
        "editors": list(EDITORS),
        "modes": list(MODES),
        "dtypes": list(DTYPES),
        "models": models([]),
        "devices": devices,
    }


def find_devices() -> list[dict[str, Any]]:
    """The devices that torch can use, best first: {id, name, memory_mb or None}.

    Loads torch, which takes seconds.

    Raises:
        ImportError: the environment has no torch.
    """
    import torch

    devices: list[dict[str, Any]] = []
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        memory = properties.total_memory >> 20
        devices.append({"id": "cuda", "name": properties.name, "memory_mb": memory})
    if torch.backends.mps.is_available():
        devices.append({"id": "mps", "name": "Apple GPU", "memory_mb": None})
    name = platform.processor() or platform.machine()
    return [*devices, {"id": "cpu", "name": name, "memory_mb": None}]


def models(folders: list[str]) -> list[dict[str, Any]]:
    """The embedded model and every diffusers pipeline that is, or lies directly in, a folder."""
    found = []
    embedded = _PACKAGE / "models" / "embedded"
    if (embedded / _MODEL_INDEX).is_file():
        found.append({"id": "embedded", "title": "Embedded demonstration", "path": str(embedded)})
    for folder in map(Path, folders):
        if not folder.is_absolute() or not folder.is_dir():
            continue
        candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
        found += [
            {"id": str(path), "title": path.name, "path": str(path)}
            for path in candidates
            if (path / _MODEL_INDEX).is_file()
        ]
    return found
