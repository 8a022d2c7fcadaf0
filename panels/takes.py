"""The panel Takes: every edit of the selected strip, and what can be done with each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bpy.types import Context, Panel, UILayout

from ..operators.compare_takes import TOKENFLOW_OT_compare_takes
from ..operators.takes import (
    TOKENFLOW_OT_delete_take,
    TOKENFLOW_OT_edit_again,
    TOKENFLOW_OT_open_take,
    TOKENFLOW_OT_switch_take,
    may_have_takes,
    takes_in,
)
from .wrapped_text import draw_wrapped

if TYPE_CHECKING:
    from ..sequencer.takes import Take, Takes


class TOKENFLOW_PT_takes(Panel):
    bl_label = "Takes"
    bl_space_type = "SEQUENCE_EDITOR"
    bl_region_type = "UI"
    bl_category = "TokenFlow"
    bl_order = 1

    @classmethod
    def poll(cls, context: Context) -> bool:
        return may_have_takes(context)

    def draw(self, context: Context) -> None:
        layout = self.layout
        takes = takes_in(context)
        if takes is None:
            layout.label(text="No edit of this strip is here", icon="INFO")
            return
        column = layout.column(align=True)
        for take in reversed(takes.takes):
            _draw_take(column, takes, take)
        _draw_original(column, takes)
        if takes.shown is not None:
            _draw_shown(layout.box(), context, takes.shown)


def _draw_take(column: UILayout, takes: Takes, take: Take) -> None:
    row = column.row(align=True)
    shows = takes.shown is not None and take.uid == takes.shown.uid
    row.operator(
        TOKENFLOW_OT_switch_take.bl_idname,
        text="",
        icon="RADIOBUT_ON" if shows else "RADIOBUT_OFF",
        depress=shows,
    ).take = take.uid
    row.prop(take.strips[0], "name", text="")
    if not shows:
        compare = row.operator(
            TOKENFLOW_OT_compare_takes.bl_idname, text="", icon="ARROW_LEFTRIGHT"
        )
        compare.take = take.uid
        compare.other = "" if takes.shown is None else takes.shown.uid
    row.operator(TOKENFLOW_OT_delete_take.bl_idname, text="", icon="TRASH").take = take.uid


def _draw_original(column: UILayout, takes: Takes) -> None:
    row = column.row(align=True)
    shows = takes.shown is None
    row.operator(
        TOKENFLOW_OT_switch_take.bl_idname,
        text="Original",
        icon="RADIOBUT_ON" if shows else "RADIOBUT_OFF",
        depress=shows,
    ).original = True
    if not shows and takes.shown is not None:
        row.operator(
            TOKENFLOW_OT_compare_takes.bl_idname, text="", icon="ARROW_LEFTRIGHT"
        ).take = takes.shown.uid


def _draw_shown(box: UILayout, context: Context, take: Take) -> None:
    kept = take.strips[0].tokenflow
    draw_wrapped(box, context, f"\u201c{kept.prompt}\u201d")
    result = json.loads(kept.result) if kept.result else {}
    if kept.quality == "draft":
        box.label(text="Draft: coarser than a final edit")
    if result.get("stability"):
        draw_wrapped(box, context, result["stability"])
    buttons = box.row(align=True)
    buttons.operator(TOKENFLOW_OT_edit_again.bl_idname, icon="LOOP_BACK").take = take.uid
    buttons.operator(TOKENFLOW_OT_open_take.bl_idname, text="", icon="FILE_FOLDER").take = take.uid


classes = (TOKENFLOW_PT_takes,)
