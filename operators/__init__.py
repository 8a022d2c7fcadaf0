"""What a click, a script or a command line does; each calls the sequencer's queue."""

from __future__ import annotations

import bpy

from . import (
    command_line,
    compare_takes,
    edit_list,
    edit_strip,
    endings,
    engine_health,
    engine_installation,
    insert_word,
    models,
    open_edit_file,
    presets,
    preview,
    remedies,
    running_edit,
    smaller_plan,
    takes,
)

classes = (
    *edit_strip.classes,
    *running_edit.classes,
    *preview.classes,
    *takes.classes,
    *compare_takes.classes,
    *remedies.classes,
    *endings.classes,
    *open_edit_file.classes,
    *insert_word.classes,
    *presets.classes,
    *edit_list.classes,
    *engine_installation.classes,
    *engine_health.classes,
    *smaller_plan.classes,
    *models.classes,
)


def register() -> None:
    for cls in classes:
        bpy.utils.register_class(cls)
    command_line.register()
    endings.register()


def unregister() -> None:
    endings.unregister()
    command_line.unregister()
    for cls in reversed(classes):
        bpy.utils.unregister_class(cls)
