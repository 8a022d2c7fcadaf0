"""The engine's page in a real window: installed by clicks, cancelled, gone on with, examined.

Where TOKENFLOW_TEST_PROGRAMS names a folder with installing programs and a small lock, these are
used, and PIP_INDEX_URL serves what they ask for; without it the real engine is installed.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

# Blender runs this file by name and does not look for modules beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from window import (
    Script,
    click,
    find,
    play,
    press,
    region,
    screenshot,
    sequencer_area,
    wait_until,
    window,
)

EXTENSION = "bl_ext.user_default.tokenflow_edit"
SECONDS = 900


def _room(name: str):
    return import_module(f"{EXTENSION}.{name}")


def _timer():
    return _room("installation.task_timer")


def _state() -> str:
    return _timer().installed_engine().state.name


def _use_small_programs() -> None:
    import importlib

    programs = os.environ.get("TOKENFLOW_TEST_PROGRAMS")
    if programs:
        folder = Path(programs)
        importlib.import_module(f"{EXTENSION}.requirements.environments").LOCKS = folder
        install = importlib.import_module(f"{EXTENSION}.installation.engine_install")
        install.PROGRAM = folder / "install_engine.py"


def _page() -> Script:
    """The add-on's page over the whole window."""
    area = sequencer_area()
    with bpy.context.temp_override(window=window(), area=area):
        bpy.ops.screen.screen_full_area()
    yield 0.5
    area = window().screen.areas[0]
    area.ui_type = "PREFERENCES"
    yield 0.5
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "TokenFlow"
    with bpy.context.temp_override(window=window(), area=area):
        bpy.ops.preferences.addon_expand(module=EXTENSION)
    yield 1.0


def _press_confirm(area) -> Script:
    """Confirm the dialog that has opened under the mouse."""
    place = region(area, "WINDOW")
    yield 0.5
    press("RET", place.x + place.width // 2, place.y + place.height // 2)
    yield 0.5


def scenario() -> Script:
    bpy.context.preferences.view.show_splash = False
    bpy.context.preferences.system.use_online_access = False
    press("ESC", 5, 5)
    yield 0.5
    _use_small_programs()
    yield from _page()
    area = window().screen.areas[0]
    yield from screenshot("engine_1_offline")
    assert not bpy.ops.tokenflow.install_engine.poll()
    yield from find(area, "extensions.userpref_show_online", "WINDOW")

    bpy.context.preferences.system.use_online_access = True
    area.tag_redraw()
    yield 0.5
    yield from screenshot("engine_2_not_installed")
    yield from click(area, "tokenflow.install_engine", "WINDOW")
    yield 0.5
    yield from screenshot("engine_3_consent")
    yield from _press_confirm(area)
    yield from wait_until(lambda: _timer().is_running("install"), "the installation", 60)
    arrived = lambda: _timer().task("install").progress  # noqa: E731
    yield from wait_until(lambda: arrived().share > 0.3, "a third of the download", SECONDS)
    yield from screenshot("engine_4_installing")
    yield from click(area, "tokenflow.cancel_install", "WINDOW")
    yield from wait_until(lambda: _state() == "INTERRUPTED", "the cancel", 30)
    yield 0.5
    yield from screenshot("engine_5_interrupted")
    yield from click(area, "tokenflow.install_engine", "WINDOW")
    yield from _press_confirm(area)
    yield from wait_until(lambda: _state() == "READY", "the engine", SECONDS)
    yield 0.5
    yield from screenshot("engine_6_ready")
    yield from click(area, "tokenflow.examine", "WINDOW", 0.3)
    yield from wait_until(lambda: not _timer().is_running("doctor"), "the doctor", SECONDS)
    yield 0.5
    yield from screenshot("engine_7_examined")


play(scenario())
