"""Which engine the add-on starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy
from bpy.types import AddonPreferences

from ..installation.engine_state import look
from ..installation.own_folders import PACKAGE_ROOT, engines_folder, preferences
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.launcher import EngineCommand


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
            return _command(Path(python), chosen)
    inside = Path("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    of_checkout = PACKAGE_ROOT / ".envs" / "engine" / inside
    if of_checkout.is_file():
        return _command(of_checkout, chosen)
    installed = look(engines_folder())
    if installed.python is not None:
        return _command(installed.python, chosen)
    raise TokenFlowError(
        "engine_missing",
        f"The engine that computes the edit is {installed.state.value}.",
        "Install it in the add-on's preferences.",
        f"Looked for {of_checkout} and in {engines_folder()}",
    )


def _command(python: Path, chosen: AddonPreferences | None) -> EngineCommand:
    """With the limits and places that the preferences name; variables of the user's come first."""
    if chosen is None:
        return EngineCommand(python, PACKAGE_ROOT)
    wanted = {"TOKENFLOW_CACHE_GB": f"{chosen.cache_gigabytes:g}"}
    if chosen.cache_folder:
        wanted["TOKENFLOW_CACHE"] = bpy.path.abspath(chosen.cache_folder)
    return EngineCommand(
        python,
        PACKAGE_ROOT,
        ("--idle-seconds", str(60 * chosen.idle_minutes)),
        tuple((name, value) for name, value in wanted.items() if name not in os.environ),
    )
