"""What this engine can do: told without loading torch, unless the devices are asked for."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from ..client.edit_request import DTYPES, EDITORS, MODES
from ..client.single_file import INDEX, SUFFIX, configuration_place

_PACKAGE = Path(__file__).resolve().parent.parent


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
    """The embedded model, and every diffusers pipeline and single file directly in a folder."""
    found = []
    embedded = _PACKAGE / "models" / "embedded"
    if (embedded / INDEX).is_file():
        found.append({"id": "embedded", "title": "Embedded demonstration", "path": str(embedded)})
    for folder in map(Path, folders):
        if not folder.is_absolute() or not folder.is_dir():
            continue
        files = [] if (folder / INDEX).is_file() else sorted(folder.glob(f"*{SUFFIX}"))
        of_files = {configuration_place(file) for file in files}
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
        candidates = [folder, *(path for path in inside if path not in of_files)]
        found += [
            {"id": str(path), "title": path.name, "path": str(path)}
            for path in candidates
            if (path / INDEX).is_file()
        ]
        found += [{"id": str(p), "title": p.name, "path": str(p)} for p in files]
    return found
