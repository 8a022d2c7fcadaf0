"""What the artist sees: the sidebar's tab, the menus and the preferences."""

from __future__ import annotations

import bpy

from . import header, menus, preferences, presets, queue, sidebar, takes, vocabulary

classes = (
    *preferences.classes,
    *vocabulary.classes,
    *sidebar.classes,
    *queue.classes,
    *takes.classes,
    *presets.classes,
)


def register() -> None:
    for cls in classes:
        bpy.utils.register_class(cls)
    menus.register()
    header.register()


def unregister() -> None:
    header.unregister()
    menus.unregister()
    for cls in reversed(classes):
        bpy.utils.unregister_class(cls)
