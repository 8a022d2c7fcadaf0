"""Under which name Blender knows the add-on, and where the add-on keeps what is its own."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.types import AddonPreferences

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


def engines_folder() -> Path:
    """Where the add-on installs its engine."""
    return own_folder("engine")


def log_folder() -> Path:
    """Where the engine's logs are."""
    return own_folder("logs")
