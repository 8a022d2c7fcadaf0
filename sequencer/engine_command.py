"""Which engine the add-on starts, and where the add-on keeps what is its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy
from bpy.types import AddonPreferences

from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.launcher import EngineCommand

ADDON = __package__.rpartition(".")[0]
"""Name under which Blender knows the add-on."""

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
"""The real folder of the add-on, also where Blender sees it through a link."""


def preferences() -> AddonPreferences | None:
    """The add-on's preferences; None if it was enabled for one run only (`--addons`)."""
    addon = bpy.context.preferences.addons.get(ADDON)
    return None if addon is None else addon.preferences


def own_folder(name: str) -> Path:
    """A folder that belongs to the add-on, made if missing."""
    return Path(bpy.utils.extension_path_user(ADDON, path=name, create=True))


def engine_command() -> EngineCommand:
    """The engine to start: the first Python that exists out of, in this order, the environment
    variable TOKENFLOW_ENGINE_PYTHON, the preferences, the checkout's and the user's environment.

    What the user names is taken or refused, never passed over.

    Raises:
        TokenFlowError: code "engine_missing".
    """
    chosen = preferences()
    named = {
        "the environment variable TOKENFLOW_ENGINE_PYTHON": os.environ.get(
            "TOKENFLOW_ENGINE_PYTHON", ""
        ),
        "the add-on's preferences": bpy.path.abspath(chosen.engine_python) if chosen else "",
    }
    for where, python in named.items():
        if python and not Path(python).is_file():
            raise TokenFlowError(
                "engine_missing",
                f"There is no Python at {python}, which {where} names.",
                "Correct it, or leave it empty.",
            )
        if python:
            return EngineCommand(Path(python), PACKAGE_ROOT)
    inside = Path("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    environments = [PACKAGE_ROOT / ".envs" / "engine", own_folder("") / "engine"]
    for environment in environments:
        if (environment / inside).is_file():
            return EngineCommand(environment / inside, PACKAGE_ROOT)
    raise TokenFlowError(
        "engine_missing",
        "The engine that computes the edit is not installed.",
        "Run `python3 run.py setup` in the checkout, or name the Python of its environment in the "
        "add-on's preferences.",
        "Looked for: " + ", ".join(str(environment / inside) for environment in environments),
    )
