"""Which build of the engine suits this machine, and what it costs."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Build:
    """id: as `install_engine.py` takes it. download, disk: bytes, rounded up."""

    id: str
    title: str
    download: int
    disk: int


BUILDS = {
    "cpu": Build("cpu", "CPU", 450 * 10**6, 2 * 10**9),
    "cuda": Build("cuda", "NVIDIA GPU", 3000 * 10**6, 7 * 10**9),
    "metal": Build("metal", "Apple GPU", 450 * 10**6, 2 * 10**9),
}
"""Measured for Python 3.11 (cpu: 392 MB) and 3.13 (cuda: 2930 MB) on Linux; metal by its parts."""


def suitable_build() -> str:
    """The id of the build for what is found here, without starting anything.

    NVIDIA's driver brings the program nvidia-smi on Linux and Windows; Metal is there on every
    Apple processor.
    """
    if sys.platform == "darwin":
        return "metal" if platform.machine() == "arm64" else "cpu"
    beside_windows = Path("C:/Windows/System32/nvidia-smi.exe")
    driver = shutil.which("nvidia-smi") or (sys.platform == "win32" and beside_windows.is_file())
    return "cuda" if driver else "cpu"
