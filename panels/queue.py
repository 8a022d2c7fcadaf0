"""The queue below the button: all edits in the order they run, and the chosen one in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpy.types import Context, Menu, UILayout, UIList

from ..operators.running_edit import (
    TOKENFLOW_OT_cancel_all,
    TOKENFLOW_OT_cancel_edit,
    TOKENFLOW_OT_dismiss_edit,
    TOKENFLOW_OT_dismiss_finished,
    TOKENFLOW_OT_move_edit,
    TOKENFLOW_OT_retry_all,
)
from ..sequencer.queue_rows import TokenFlowQueueList, TokenFlowQueueRow, chosen_id
from ..sequencer.queue_timer import edit_queue
from .edit_boxes import draw_edit, icon_of, share_and_text

if TYPE_CHECKING:
    from ..sequencer.strip_edit import StripEdit

_LEAST_ROWS = 2
_MOST_ROWS = 8


class TOKENFLOW_UL_queue(UIList):
    """A row for each edit: its strip, a bar with phase and time left, and a button to end it."""

    def draw_item(
        self,
        context: Context,
        layout: UILayout,
        data: TokenFlowQueueList,
        item: TokenFlowQueueRow,
        icon: int,
        active_data: TokenFlowQueueList,
        active_property: str,
        index: int,
    ) -> None:
        edit = edit_queue().find(item.edit_id) if item.edit_id else None
        if edit is None:
            return
        row = layout.row(align=True)
        split = row.split(factor=0.4)
        split.label(text=edit.strip_name, icon=icon_of(edit), translate=False)
        share, text = share_and_text(edit)
        if edit.stage.finished:
            split.label(text=text)
            _small_button(row, TOKENFLOW_OT_dismiss_edit.bl_idname, edit)
        else:
            split.progress(factor=share, text=text)
            if edit.cancel_requested:
                row = row.row()
                row.enabled = False
            _small_button(row, TOKENFLOW_OT_cancel_edit.bl_idname, edit)

    def draw_filter(self, context: Context, layout: UILayout) -> None:
        """The order is the one in which the edits run, so that there is nothing to sort."""

    def filter_items(
        self, context: Context, data: TokenFlowQueueList, property: str
    ) -> tuple[list[int], list[int]]:
        return [], []


class TOKENFLOW_MT_queue(Menu):
    bl_label = "All Edits"

    def draw(self, context: Context) -> None:
        layout = self.layout
        layout.operator(TOKENFLOW_OT_retry_all.bl_idname, icon="FILE_REFRESH")
        layout.operator(TOKENFLOW_OT_cancel_all.bl_idname, icon="CANCEL")
        layout.separator()
        layout.operator(TOKENFLOW_OT_dismiss_finished.bl_idname, icon="X")


def draw_queue(layout: UILayout, context: Context) -> None:
    """Draw the list, and where the chosen edit is; nothing while no edit was begun."""
    queue, shown = edit_queue(), context.window_manager.tokenflow_queue
    if not queue.edits:
        return
    row = layout.row()
    rows = min(max(_LEAST_ROWS, len(queue.edits)), _MOST_ROWS)
    row.template_list("TOKENFLOW_UL_queue", "", shown, "rows", shown, "active", rows=rows)
    key = chosen_id(context.window_manager)
    chosen = queue.find(key) if key else None
    _draw_list_buttons(row.column(align=True), chosen)
    if chosen is not None:
        draw_edit(layout, context, chosen)


def _draw_list_buttons(column: UILayout, chosen: StripEdit | None) -> None:
    moving = column.column(align=True)
    moving.enabled = chosen is not None and chosen.is_waiting
    for places, icon in ((-1, "TRIA_UP"), (1, "TRIA_DOWN")):
        button = moving.operator(TOKENFLOW_OT_move_edit.bl_idname, text="", icon=icon)
        button.edit_id = "" if chosen is None else chosen.id
        button.places = places
    column.separator()
    column.menu(TOKENFLOW_MT_queue.__name__, text="", icon="DOWNARROW_HLT")


def _small_button(row: UILayout, operator: str, edit: StripEdit) -> None:
    row.operator(operator, text="", icon="X", emboss=False).edit_id = edit.id


classes = (TOKENFLOW_UL_queue, TOKENFLOW_MT_queue)
