"""Strips to frames and frames to strips: the only room that reads and writes the Sequencer."""

from __future__ import annotations

from . import comparison, preset_list, queue_timer, settings


def register() -> None:
    settings.register()
    queue_timer.register()
    preset_list.register()
    comparison.register()


def unregister() -> None:
    comparison.unregister()
    preset_list.unregister()
    queue_timer.unregister()
    settings.unregister()
