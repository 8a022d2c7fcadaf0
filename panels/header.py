"""How the queue stands, in the Sequencer's header, while the sidebar that tells more is closed."""

from __future__ import annotations

import bpy
from bpy.types import Context, Header

from ..operators.endings import TOKENFLOW_OT_show_queue
from ..sequencer.queue_timer import edits_so_far
from ..sequencer.stage import Stage
from .edit_boxes import share_and_text

_NEEDS_A_LOOK = (Stage.FAILED, Stage.UNPLACED, Stage.INTERRUPTED)


def _draw(self: Header, context: Context) -> None:
    space = context.space_data
    edits = edits_so_far()
    if not edits or space.show_region_ui or space.view_type == "PREVIEW":
        return
    running = [edit for edit in edits if not edit.stage.finished]
    row = self.layout.row(align=True)
    if running:
        share, text = share_and_text(running[0])
        more = f" (+{len(running) - 1})" if len(running) > 1 else ""
        bar = row.row()
        bar.ui_units_x = 11
        bar.progress(factor=share, text=f"{text}{more}")
        row.operator(TOKENFLOW_OT_show_queue.bl_idname, text="", icon="SHADERFX")
        return
    troubled = sum(edit.stage in _NEEDS_A_LOOK for edit in edits)
    if troubled:
        row.operator(TOKENFLOW_OT_show_queue.bl_idname, text=f"TokenFlow: {troubled}", icon="ERROR")


def register() -> None:
    bpy.types.SEQUENCER_HT_header.append(_draw)


def unregister() -> None:
    bpy.types.SEQUENCER_HT_header.remove(_draw)
