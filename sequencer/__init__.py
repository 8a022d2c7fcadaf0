"""Strips to frames and frames to strips: the only room that reads and writes the Sequencer."""

from __future__ import annotations

from . import queue_timer, settings


def register() -> None:
    settings.register()
    queue_timer.register()


def unregister() -> None:
    queue_timer.unregister()
    settings.unregister()
