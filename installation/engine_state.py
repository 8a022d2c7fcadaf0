"""Which of its states the engine's own environment is in, read from the disk.

The states are krita-ai-diffusion's: from nothing to ready, broken, or behind its add-on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from pathlib import Path

from ..requirements.environments import (
    ENGINE,
    STAMP,
    WHEELS,
    Environment,
    installed_engine,
    installed_hashes,
)


class EngineState(enum.Enum):
    NOT_INSTALLED = "not installed"
    INTERRUPTED = "interrupted"
    """An installation was begun and neither finished nor taken back; it can go on."""
    READY = "ready"
    BROKEN = "broken"
    """It was complete, and its Python is gone: often with the Blender that it came from."""
    UPDATE_AVAILABLE = "update available"
    """One for an older lock is there, and works until the new one is installed."""


@dataclass(frozen=True)
class InstalledEngine:
    """state, and the interpreter to use, None where there is none."""

    state: EngineState
    python: Path | None = None


def look(folder: Path) -> InstalledEngine:
    """What lies in the folder that engines are installed into."""
    present = installed_engine(folder)
    older = [
        replace(present, name=path.name)
        for path in sorted(folder.glob("engine-*"))
        if path.is_dir() and path.name != present.name
    ]
    stamped = [engine for engine in (present, *older) if (engine.folder / STAMP).is_file()]
    for engine in stamped:
        if _works(engine):
            behind = engine is not present
            state = EngineState.UPDATE_AVAILABLE if behind else EngineState.READY
            return InstalledEngine(state, engine.interpreter)
    if stamped:
        return InstalledEngine(EngineState.BROKEN)
    if present.folder.exists() or (folder / WHEELS).exists():
        return InstalledEngine(EngineState.INTERRUPTED)
    return InstalledEngine(EngineState.NOT_INSTALLED)


def _works(engine: Environment) -> bool:
    """Whether it is complete, and the Python that it was made from still there."""
    if not set(ENGINE.layers) <= installed_hashes(engine).keys():
        return False
    try:
        lines = (engine.folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    home = next((line.partition("=")[2].strip() for line in lines if line.startswith("home")), "")
    return Path(home).is_dir()
