"""What the artist sees: the sidebar's tab, the menus and the preferences."""

from __future__ import annotations

import bpy

from . import menus, preferences, presets, sidebar, takes

classes = (*preferences.classes, *sidebar.classes, *takes.classes, *presets.classes)


def register() -> None:
    for cls in classes:
        bpy.utils.register_class(cls)
    menus.register()


def unregister() -> None:
    menus.unregister()
    for cls in reversed(classes):
        bpy.utils.unregister_class(cls)
