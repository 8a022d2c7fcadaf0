"""The doctor: what the add-on can see by itself, and what the engine says of its own parts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.findings import Finding
from ..tokenflow_engine.client.launcher import EngineCommand
from ..tokenflow_engine.client.spoken import spoken_bytes
from .task import Task

_LITTLE_SPACE = 2 * 10**9
"""Bytes; a few long edits of pictures fill them."""


def start_examination(engine: EngineCommand) -> Task:
    """Have the engine examine itself; takes seconds."""
    return start_command(engine, "doctor", "--messages")


def start_command(engine: EngineCommand, *arguments: str) -> Task:
    """One of the engine's commands, told by messages."""
    command = [str(engine.python.absolute()), "-m", "tokenflow_engine", *arguments]
    return Task(command, engine.environment())


def findings_of(examination: Task | None) -> list[Finding]:
    """What the engine found; a failure to examine is a finding."""
    if examination is None or examination.running:
        return []
    if examination.error is not None:
        error = examination.error
        return [Finding("Engine", "FAIL", error.message, error.remedy, "install_engine")]
    return [Finding.from_json(found) for found in examination.result.get("findings", [])]


def own_findings(missing: TokenFlowError | None, online: bool, folder: Path) -> list[Finding]:
    """What needs no engine. missing: why there is none; folder: where frames are written."""
    found = []
    if missing is not None:
        found.append(Finding("Engine", "FAIL", missing.message, missing.remedy, "install_engine"))
    if not online:
        message = "Blender's online access is off: nothing can be downloaded, edits work."
        found.append(Finding("Online access", "OK", message))
    if not os.access(folder, os.W_OK):
        message = f"{folder} cannot be written to."
        remedy = "Choose another folder for the frames."
        found.append(Finding("Frames", "FAIL", message, remedy, "choose_folders"))
    elif (free := shutil.disk_usage(folder).free) < _LITTLE_SPACE:
        message = f"Only {spoken_bytes(free)} are free where frames are written."
        remedy = "Free some space, or choose a folder on another disk."
        found.append(Finding("Frames", "WARN", message, remedy, "choose_folders"))
    return found
