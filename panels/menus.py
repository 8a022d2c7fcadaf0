"""Entries in the Sequencer's Strip menu and in its context menu."""

from __future__ import annotations

import bpy
from bpy.types import Context, Menu

from ..operators.edit_strip import TOKENFLOW_OT_edit_strip
from ..operators.open_edit_file import TOKENFLOW_OT_open_edit_file

_MENUS = ("SEQUENCER_MT_strip", "SEQUENCER_MT_context_menu")


def _draw(self: Menu, context: Context) -> None:
    self.layout.separator()
    self.layout.operator(TOKENFLOW_OT_edit_strip.bl_idname, icon="SHADERFX")
    self.layout.operator(TOKENFLOW_OT_open_edit_file.bl_idname, icon="IMPORT")


def register() -> None:
    for name in _MENUS:
        getattr(bpy.types, name).append(_draw)


def unregister() -> None:
    for name in _MENUS:
        getattr(bpy.types, name).remove(_draw)
