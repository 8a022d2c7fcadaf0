"""What the artist sees: the sidebar's tab, the menus and the preferences."""

from __future__ import annotations

import bpy

from . import (
    header,
    menus,
    needs,
    preferences,
    presets,
    queue,
    sidebar,
    takes,
    translations,
    vocabulary,
)

classes = (
    *preferences.classes,
    *vocabulary.classes,
    *sidebar.classes,
    *queue.classes,
    *takes.classes,
    *presets.classes,
    *needs.classes,
)


def register() -> None:
    for cls in classes:
        bpy.utils.register_class(cls)
    menus.register()
    header.register()
    translations.register()


def unregister() -> None:
    translations.unregister()
    header.unregister()
    menus.unregister()
    for cls in reversed(classes):
        bpy.utils.unregister_class(cls)
