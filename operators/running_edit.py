"""Buttons of the queue: what can be done with an edit that waits, runs or has ended."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import IntProperty, StringProperty
from bpy.types import Context, Operator, OperatorProperties

from ..sequencer.queue_timer import edit_queue, ensure_ticking, show_queue
from ..sequencer.stage import Stage
from ..tokenflow_engine.client.errors import TokenFlowError

if TYPE_CHECKING:
    from ..sequencer.strip_edit import StripEdit


class OfOneEdit:
    """An operator on the edit whose id it is given; without an id, on the latest one."""

    bl_options = {"INTERNAL"}

    edit_id: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def edit(self) -> "StripEdit | None":
        return edit_queue().find(self.edit_id)

    def attempt(self: Any, act: Any) -> set[str]:
        """Do it, or report why not; the panel then shows the queue as it is."""
        try:
            act()
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        finally:
            ensure_ticking()
        return {"FINISHED"}


class TOKENFLOW_OT_cancel_edit(OfOneEdit, Operator):
    """Stop this edit; nothing of it is left, and phases that are finished need not run again"""

    bl_idname = "tokenflow.cancel_edit"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not edit_queue().unfinished:
            cls.poll_message_set("No edit is running.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        edit = self.edit()
        if edit is None or edit.stage.finished:
            return {"CANCELLED"}
        edit_queue().cancel(edit)
        show_queue()
        return {"FINISHED"}


class TOKENFLOW_OT_stop_engine(Operator):
    """End the engine now instead of after the step it is in; it starts again for the next edit"""

    bl_idname = "tokenflow.stop_engine"
    bl_label = "Stop the Engine"
    bl_options = {"INTERNAL"}

    def execute(self, context: Context) -> set[str]:
        edit_queue().stop_engine()
        ensure_ticking()
        return {"FINISHED"}


class TOKENFLOW_OT_cancel_all(Operator):
    """Stop the edit that runs and all that wait; phases that are finished need not run again"""

    bl_idname = "tokenflow.cancel_all"
    bl_label = "Cancel All"
    bl_options = {"INTERNAL"}

    poll = TOKENFLOW_OT_cancel_edit.poll

    def execute(self, context: Context) -> set[str]:
        # Those that wait first, so that none of them begins.
        for edit in reversed(edit_queue().unfinished):
            edit_queue().cancel(edit)
        show_queue()
        return {"FINISHED"}


class TOKENFLOW_OT_retry_edit(OfOneEdit, Operator):
    """Put this edit in line again; phases that were finished need not run again"""

    bl_idname = "tokenflow.retry_edit"
    bl_label = "Retry"

    def execute(self, context: Context) -> set[str]:
        edit = self.edit()
        if edit is None or not edit.stage.can_be_retried:
            return {"CANCELLED"}
        return self.attempt(lambda: edit_queue().retry(edit))


class TOKENFLOW_OT_retry_all(OfOneEdit, Operator):
    """Put every edit in line again that was interrupted or has failed"""

    bl_idname = "tokenflow.retry_all"
    bl_label = "Resume and Retry All"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not _to_retry():
            cls.poll_message_set("No edit was interrupted or has failed.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        ends = [self.attempt(lambda edit=edit: edit_queue().retry(edit)) for edit in _to_retry()]
        return {"FINISHED"} if {"FINISHED"} in ends else {"CANCELLED"}


class TOKENFLOW_OT_move_edit(OfOneEdit, Operator):
    """Let this edit run earlier or later than the others that wait"""

    bl_idname = "tokenflow.move_edit"
    bl_label = "Move in the Queue"

    places: IntProperty(
        name="Places",
        description="Places in the queue; negative is earlier",
        default=-1,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: Context) -> set[str]:
        edit = self.edit()
        if edit is None or not edit.is_waiting:
            return {"CANCELLED"}
        edit_queue().move(edit, self.places)
        show_queue()
        return {"FINISHED"}


class TOKENFLOW_OT_dismiss_edit(OfOneEdit, Operator):
    """Take this message away; strips and frames stay"""

    bl_idname = "tokenflow.dismiss_edit"
    bl_label = "Dismiss"

    def execute(self, context: Context) -> set[str]:
        # Without an id the last refusal to begin is meant.
        edit = self.edit() if self.edit_id else None
        if edit is None:
            edit_queue().refusal = None
        else:
            edit_queue().dismiss(edit)
        show_queue()
        return {"FINISHED"}


class TOKENFLOW_OT_dismiss_finished(Operator):
    """Take all edits off the list that are done or cancelled; strips and frames stay"""

    bl_idname = "tokenflow.dismiss_finished"
    bl_label = "Clear Finished"
    bl_options = {"INTERNAL"}

    def execute(self, context: Context) -> set[str]:
        for edit in list(edit_queue().edits):
            if edit.stage in (Stage.DONE, Stage.CANCELLED):
                edit_queue().dismiss(edit)
        show_queue()
        return {"FINISHED"}


class TOKENFLOW_OT_open_frames(OfOneEdit, Operator):
    """Show the folder with the edited frames and edit.json"""

    bl_idname = "tokenflow.open_frames"
    bl_label = "Reveal Folder"

    @classmethod
    def description(cls, context: Context, properties: OperatorProperties) -> str:
        edit = edit_queue().find(properties.edit_id)
        folder = "" if edit is None or edit.result is None else f"\n{edit.result.output}"
        return f"{cls.__doc__}{folder}"

    def execute(self, context: Context) -> set[str]:
        edit = self.edit()
        if edit is None or edit.result is None:
            return {"CANCELLED"}
        return bpy.ops.wm.path_open(filepath=edit.result.output)


class TOKENFLOW_OT_place_result(OfOneEdit, Operator):
    """Put the edited frames above their source; where that is gone, at the frames that it had"""

    bl_idname = "tokenflow.place_result"
    bl_label = "Place Result"
    # No UNDO: placing pushes its own step, as it does when it happens by itself.

    def execute(self, context: Context) -> set[str]:
        edit = self.edit()
        if edit is None or edit.result is None:
            return {"CANCELLED"}
        return self.attempt(lambda: edit_queue().place(edit))


def _to_retry() -> "Iterable[StripEdit]":
    wanted = (Stage.INTERRUPTED, Stage.FAILED)
    return [edit for edit in edit_queue().edits if edit.stage in wanted]


classes = (
    TOKENFLOW_OT_cancel_edit,
    TOKENFLOW_OT_stop_engine,
    TOKENFLOW_OT_cancel_all,
    TOKENFLOW_OT_retry_edit,
    TOKENFLOW_OT_retry_all,
    TOKENFLOW_OT_move_edit,
    TOKENFLOW_OT_dismiss_edit,
    TOKENFLOW_OT_dismiss_finished,
    TOKENFLOW_OT_open_frames,
    TOKENFLOW_OT_place_result,
)
