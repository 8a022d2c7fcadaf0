"""The add-on's one queue, and the timer by which Blender's window advances it."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import TYPE_CHECKING

import bpy

from ..installation.own_folders import own_folder
from ..tokenflow_engine.client.child_processes import reap

if TYPE_CHECKING:
    from .edit_queue import EditQueue
    from .strip_edit import StripEdit

_SECONDS_BETWEEN_TICKS = 0.1
_SECONDS_TO_FIRST_LOOK = 0.5

_queue: EditQueue | None = None
_is_registered = False

on_end: list[Callable[[StripEdit], None]] = []
"""Called from the timer with each edit that has ended by itself, well or not."""


def edit_queue() -> EditQueue:
    """The queue of this Blender; there is one from `register` to `unregister`.

    It is made, and what it is made of loaded, when it is first asked for: Blender's start does not
    wait for what most sessions never use.
    """
    global _queue
    if not _is_registered:
        raise RuntimeError("TokenFlow Edit is not registered")
    if _queue is None:
        from .edit_queue import EditQueue
        from .queue_store import QueueStore

        _queue = EditQueue(QueueStore(own_folder("queue")))
        atexit.register(_queue.close)
    return _queue


def edits_so_far() -> list[StripEdit]:
    """The edits of the queue, which is not made for the question: most sessions have none."""
    return [] if _queue is None else _queue.edits


def ensure_ticking() -> None:
    """Have Blender poll the queue until it has no more to do. Without a window timers never run."""
    show_queue()
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, persistent=True)


def show_queue() -> None:
    """Have the panels show the queue as it is now."""
    if _queue is not None:
        from .queue_rows import show_rows

        show_rows(_queue.edits)
    redraw_sidebars()


def _tick() -> float | None:
    if _queue is None:
        return None
    running = _queue.unfinished
    if _queue.poll():
        show_queue()
    for edit in running:
        if edit.stage.finished:
            for tell in on_end:
                tell(edit)
    return _SECONDS_BETWEEN_TICKS if _queue.unfinished or reap() else None


def _look_for_left_edits() -> None:
    if any(own_folder("queue").iterdir()):
        edit_queue().recover()
        show_queue()


def redraw_sidebars() -> None:
    """Have the Sequencer's sidebars drawn again; where one is closed, the header that stands in."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "SEQUENCE_EDITOR":
                wanted = "UI" if area.spaces.active.show_region_ui else "HEADER"
                for region in area.regions:
                    if region.type == wanted:
                        region.tag_redraw()


def register() -> None:
    global _is_registered
    _is_registered = True
    if not bpy.app.background:
        bpy.app.timers.register(_look_for_left_edits, first_interval=_SECONDS_TO_FIRST_LOOK)


def unregister() -> None:
    global _queue, _is_registered
    _is_registered = False
    for timer in (_tick, _look_for_left_edits):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    if _queue is not None:
        atexit.unregister(_queue.close)
        _queue.close()
    _queue = None
