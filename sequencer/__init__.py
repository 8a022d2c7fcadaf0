"""Strips to frames and frames to strips: the only room that reads and writes the Sequencer."""

from __future__ import annotations

from . import (
    comparison,
    preset_list,
    preview_pictures,
    project_events,
    queue_rows,
    queue_timer,
    settings,
)


def register() -> None:
    settings.register()
    queue_rows.register()
    queue_timer.register()
    project_events.register()
    preset_list.register()
    comparison.register()
    preview_pictures.register()


def unregister() -> None:
    preview_pictures.unregister()
    comparison.unregister()
    preset_list.unregister()
    project_events.unregister()
    queue_timer.unregister()
    queue_rows.unregister()
    settings.unregister()
