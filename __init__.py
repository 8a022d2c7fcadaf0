"""TokenFlow Edit: edit video strips by text in Blender's Video Sequencer.

Blender imports this package as an extension and calls `register`; everything that needs `bpy` is
imported there, so that the folder can also be read by tools that have no Blender.
"""

from __future__ import annotations

import sys
from importlib import import_module

ROOMS = ("installation", "sequencer", "operators", "panels")
"""Packages in the order they are registered; each imports only from those before it."""


def register() -> None:
    for room in ROOMS:
        import_module(f".{room}", __package__).register()


def unregister() -> None:
    for room in reversed(ROOMS):
        import_module(f".{room}", __package__).unregister()
    # Blender keeps submodules of a disabled add-on: without this an update would run old code.
    for name in [name for name in sys.modules if name.startswith(f"{__package__}.")]:
        del sys.modules[name]
