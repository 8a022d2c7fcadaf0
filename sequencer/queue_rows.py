"""The queue as rows that Blender's list widget can show.

No postponed annotations here: Blender reads the properties out of the classes' annotations.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import bpy
from bpy.props import CollectionProperty, IntProperty, PointerProperty, StringProperty
from bpy.types import PropertyGroup, WindowManager

if TYPE_CHECKING:
    from .strip_edit import StripEdit


class TokenFlowQueueRow(PropertyGroup):
    """One edit in the list; what it shows is looked up by its id when it is drawn."""

    edit_id: StringProperty(options={"HIDDEN"})


class TokenFlowQueueList(PropertyGroup):
    """The rows, and which one is chosen."""

    rows: CollectionProperty(type=TokenFlowQueueRow, options={"HIDDEN"})
    active: IntProperty(name="Edit", description="The edit that the buttons beside the list act on")


def show_rows(edits: "Sequence[StripEdit]") -> None:
    """Make the rows those of these edits; an edit that is new is chosen."""
    shown = bpy.context.window_manager.tokenflow_queue
    before = [row.edit_id for row in shown.rows]
    wanted = [edit.id for edit in edits]
    if before == wanted:
        return
    chosen = chosen_id(bpy.context.window_manager)
    shown.rows.clear()
    for edit_id in wanted:
        shown.rows.add().edit_id = edit_id
    new = [edit_id for edit_id in wanted if edit_id not in before]
    if new and before:
        chosen = new[-1]
    # A row that was dismissed leaves the choice to the one that moved up into its place.
    last = max(0, len(wanted) - 1)
    shown.active = wanted.index(chosen) if chosen in wanted else min(shown.active, last)


def chosen_id(window_manager: WindowManager) -> str:
    """The id of the edit that is chosen in the list; empty where the list is."""
    shown = window_manager.tokenflow_queue
    return shown.rows[shown.active].edit_id if 0 <= shown.active < len(shown.rows) else ""


classes = (TokenFlowQueueRow, TokenFlowQueueList)


def register() -> None:
    for cls in classes:
        bpy.utils.register_class(cls)
    WindowManager.tokenflow_queue = PointerProperty(type=TokenFlowQueueList)


def unregister() -> None:
    del WindowManager.tokenflow_queue
    for cls in reversed(classes):
        bpy.utils.unregister_class(cls)
