"""The add-on's running tasks, and the timer by which Blender's window follows them."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import TYPE_CHECKING

import bpy

from ..tokenflow_engine.client.child_processes import reap
from .own_folders import engines_folder

if TYPE_CHECKING:
    from .engine_state import InstalledEngine
    from .task import Task

INSTALL = "install"
DOCTOR = "doctor"
SPACE = "space"
MODEL = "model"
"""Kinds of tasks; at most one of each runs."""

_SECONDS_BETWEEN_TICKS = 0.1

_tasks: dict[str, Task] = {}
_when_ended: dict[str, Callable[[Task], None]] = {}
_engine: InstalledEngine | None = None


def task(kind: str) -> Task | None:
    """The task of this kind that runs, or the last that ran."""
    return _tasks.get(kind)


def is_running(kind: str) -> bool:
    found = _tasks.get(kind)
    return found is not None and found.running


def follow(kind: str, started: Task, when_ended: Callable[[Task], None] | None = None) -> None:
    """Poll a task until it ends. when_ended: called in Blender's main thread."""
    _tasks[kind] = started
    if when_ended is not None:
        _when_ended[kind] = when_ended
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, persistent=True)


def forget(kind: str) -> None:
    """End the task of this kind, and show it no more."""
    found = _tasks.pop(kind, None)
    _when_ended.pop(kind, None)
    if found is not None:
        found.cancel()


def poll_tasks() -> bool:
    """Take in what the tasks have said; whether any of it is to be seen."""
    changed = False
    for kind, running in list(_tasks.items()):
        if not running.poll():
            continue
        changed = True
        if not running.running:
            refresh_engine()
            ended = _when_ended.pop(kind, None)
            if ended is not None:
                ended(running)
    return changed


def installed_engine() -> InstalledEngine:
    """The add-on's own engine, as it was when something last happened to it."""
    return _engine if _engine is not None else refresh_engine()


def refresh_engine() -> InstalledEngine:
    """Look at the disk again."""
    from .engine_state import look

    global _engine
    _engine = look(engines_folder())
    return _engine


def redraw_preferences() -> None:
    """Have the preferences drawn again, wherever they are open."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()


def _tick() -> float | None:
    if poll_tasks():
        redraw_preferences()
    is_wanted = any(t.running for t in _tasks.values()) or reap()
    return _SECONDS_BETWEEN_TICKS if is_wanted else None


def _end_all() -> None:
    for kind in list(_tasks):
        forget(kind)


def register() -> None:
    atexit.register(_end_all)


def unregister() -> None:
    global _engine
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    atexit.unregister(_end_all)
    _end_all()
    _engine = None
