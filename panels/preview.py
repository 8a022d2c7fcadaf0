"""The contact sheet of a preview, and what can be done next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpy.app.translations import pgettext_iface
from bpy.types import Context, UILayout

from ..operators.preview import (
    TOKENFLOW_OT_approve_preview,
    TOKENFLOW_OT_preview_edit,
    TOKENFLOW_OT_reroll_preview,
)
from ..sequencer.preview_pictures import icon_of_picture, pictures_of
from ..sequencer.settings import TokenFlowSettings
from .wrapped_text import draw_wrapped

if TYPE_CHECKING:
    from ..sequencer.strip_edit import StripEdit

_COLUMNS = 2
_UNIT = 20
"""Pixels of Blender's widget unit at a scale of 1."""
_MARGIN = 70


def draw_preview_button(layout: UILayout, settings: TokenFlowSettings) -> None:
    """The button, and how many frames it edits."""
    row = layout.split(factor=0.65, align=True)
    row.operator(TOKENFLOW_OT_preview_edit.bl_idname, icon="HIDE_OFF")
    row.prop(settings, "preview_frames", text="Frames")


def draw_preview(layout: UILayout, context: Context, edit: StripEdit) -> None:
    """Draw a finished preview's pictures in the order of their frames, two in a row."""
    scale = context.preferences.system.ui_scale
    width = (context.region.width / scale - _MARGIN) / _COLUMNS
    numbers = edit.frames.numbers
    sheet = layout.grid_flow(columns=_COLUMNS, row_major=True, even_columns=True, align=True)
    frame = pgettext_iface("Frame {number}")
    for number, picture in zip(numbers, pictures_of(edit), strict=False):
        cell = sheet.column(align=True)
        cell.template_icon(icon_of_picture(picture), scale=max(2.0, width / _UNIT))
        caption = cell.row()
        caption.alignment = "CENTER"
        caption.label(text=frame.format(number=number), translate=False)
    for warning in edit.result.warnings if edit.result is not None else ():
        draw_wrapped(layout, context, warning)
    approve = layout.row()
    approve.scale_y = 1.3
    approve.operator(TOKENFLOW_OT_approve_preview.bl_idname, icon="CHECKMARK").edit_id = edit.id
    layout.operator(TOKENFLOW_OT_reroll_preview.bl_idname, icon="FILE_REFRESH").edit_id = edit.id
