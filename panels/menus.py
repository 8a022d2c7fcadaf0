"""Entries in the Sequencer's Strip menu, in its context menu and in File > Export."""

from __future__ import annotations

import bpy
from bpy.types import Context, Menu

from ..operators.edit_list import TOKENFLOW_OT_export_edit_list
from ..operators.edit_strip import TOKENFLOW_OT_edit_strip
from ..operators.open_edit_file import TOKENFLOW_OT_open_edit_file

_EXPORT_MENU = "TOPBAR_MT_file_export"
_MENUS = ("SEQUENCER_MT_strip", "SEQUENCER_MT_context_menu")


def _draw(self: Menu, context: Context) -> None:
    self.layout.separator()
    self.layout.operator(TOKENFLOW_OT_edit_strip.bl_idname, icon="SHADERFX")
    self.layout.operator(TOKENFLOW_OT_open_edit_file.bl_idname, icon="IMPORT")


def _draw_export(self: Menu, context: Context) -> None:
    self.layout.operator(
        TOKENFLOW_OT_export_edit_list.bl_idname, text="TokenFlow Edit List (.json)"
    )


def register() -> None:
    getattr(bpy.types, _EXPORT_MENU).append(_draw_export)
    for name in _MENUS:
        getattr(bpy.types, name).append(_draw)


def unregister() -> None:
    getattr(bpy.types, _EXPORT_MENU).remove(_draw_export)
    for name in _MENUS:
        getattr(bpy.types, name).remove(_draw)
