"""The engine's own environment, its models and its health: all that is done before an edit.

What takes longer than a moment runs in a process of its own, which a timer listens to.
"""

from __future__ import annotations

from . import task_timer


def register() -> None:
    task_timer.register()


def unregister() -> None:
    task_timer.unregister()
