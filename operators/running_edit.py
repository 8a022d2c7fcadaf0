"""Buttons beside an edit that runs or has ended."""

import bpy
from bpy.props import StringProperty
from bpy.types import Context, Operator, OperatorProperties

from ..sequencer.queue_timer import edit_queue
from ..sequencer.strip_edit import StripEdit


class _OfOneEdit:
    """An operator on the edit whose id it is given.

    Without an id, cancel and open act on the latest edit, the others on the last refusal to begin.
    """

    bl_options = {"INTERNAL"}

    edit_id: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def edit(self) -> StripEdit | None:
        return edit_queue().find(self.edit_id)


class TOKENFLOW_OT_cancel_edit(_OfOneEdit, Operator):
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
        return {"FINISHED"}


class TOKENFLOW_OT_dismiss_edit(_OfOneEdit, Operator):
    """Take this message away; strips and frames stay"""

    bl_idname = "tokenflow.dismiss_edit"
    bl_label = "Dismiss"

    def execute(self, context: Context) -> set[str]:
        edit = self.edit() if self.edit_id else None
        if edit is None:
            edit_queue().refusal = None
        else:
            edit_queue().dismiss(edit)
        return {"FINISHED"}


class TOKENFLOW_OT_copy_report(_OfOneEdit, Operator):
    """Copy the error with all its details to the clipboard"""

    bl_idname = "tokenflow.copy_report"
    bl_label = "Copy Report"

    def execute(self, context: Context) -> set[str]:
        edit = self.edit() if self.edit_id else None
        error = edit_queue().refusal if edit is None else edit.error
        if error is None:
            return {"CANCELLED"}
        context.window_manager.clipboard = (
            f"{error.code}: {error}\nBlender {bpy.app.version_string}\n\n{error.details}"
        )
        self.report({"INFO"}, "The report is on the clipboard")
        return {"FINISHED"}


class TOKENFLOW_OT_open_frames(_OfOneEdit, Operator):
    """Show the folder with the edited frames and edit.json"""

    bl_idname = "tokenflow.open_frames"
    bl_label = "Open Folder"

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


classes = (
    TOKENFLOW_OT_cancel_edit,
    TOKENFLOW_OT_dismiss_edit,
    TOKENFLOW_OT_copy_report,
    TOKENFLOW_OT_open_frames,
)
