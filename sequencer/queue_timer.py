"""The add-on's one queue, and the timer by which Blender's window advances it."""

from __future__ import annotations

import atexit

import bpy

from .edit_queue import EditQueue

_SECONDS_BETWEEN_TICKS = 0.1

_queue: EditQueue | None = None


def edit_queue() -> EditQueue:
    """The queue of this Blender; there is one from `register` to `unregister`."""
    if _queue is None:
        raise RuntimeError("TokenFlow Edit is not registered")
    return _queue


def ensure_ticking() -> None:
    """Have Blender poll the queue until it has no more to do. Without a window timers never run."""
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, persistent=True)


def _tick() -> float | None:
    if _queue is None:
        return None
    if _queue.poll():
        redraw_sidebars()
    return _SECONDS_BETWEEN_TICKS if _queue.unfinished else None


def redraw_sidebars() -> None:
    """Have the Sequencer's sidebars drawn again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "SEQUENCE_EDITOR":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def register() -> None:
    global _queue
    _queue = EditQueue()
    atexit.register(_queue.close)


def unregister() -> None:
    global _queue
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _queue is not None:
        atexit.unregister(_queue.close)
        _queue.close()
    _queue = None
