"""Says that an edit has ended where the artist looks, whichever editor that is."""

from typing import TYPE_CHECKING

import bpy
from bpy.props import BoolProperty, StringProperty
from bpy.types import Context, Event, Operator

from ..sequencer.queue_timer import on_end
from ..sequencer.stage import Stage

if TYPE_CHECKING:
    from ..sequencer.strip_edit import StripEdit

_SECONDS_TO_NEXT_EVENT = 0.01


class TOKENFLOW_OT_say_ending(Operator):
    """Show a line about an edit that has ended in Blender's status bar"""

    bl_idname = "tokenflow.say_ending"
    bl_label = "TokenFlow Edit"
    bl_options = {"INTERNAL"}

    text: StringProperty(options={"HIDDEN", "SKIP_SAVE"})
    warns: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: Context, event: Event) -> set[str]:
        # Reports of an operator that a script calls reach only the console; those of one that the
        # window's own events end are shown.
        manager = context.window_manager
        self._timer = manager.event_timer_add(_SECONDS_TO_NEXT_EVENT, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> set[str]:
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        context.window_manager.event_timer_remove(self._timer)
        self.report({"WARNING" if self.warns else "INFO"}, self.text)
        return {"FINISHED", "PASS_THROUGH"}


class TOKENFLOW_OT_show_queue(Operator):
    """Open the sidebar of the Sequencer at the queue of edits"""

    bl_idname = "tokenflow.show_queue"
    bl_label = "Show Queue"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if context.area is None or context.area.type != "SEQUENCE_EDITOR":
            cls.poll_message_set("This is no Sequencer.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        context.space_data.show_region_ui = True
        for region in context.area.regions:
            if region.type == "UI":
                # Blender knows a sidebar's tabs only after it was drawn once.
                try:
                    region.active_panel_category = "TokenFlow"
                except (TypeError, AttributeError):
                    self.report({"INFO"}, "Choose the tab TokenFlow")
        context.area.tag_redraw()
        return {"FINISHED"}


def ending_text(edit: "StripEdit") -> str:
    """One line on how an edit ended; empty for a cancelled one, which is no news."""
    if edit.stage is Stage.DONE:
        return f"TokenFlow: {edit.result_name or edit.strip_name} is ready"
    if edit.stage is Stage.CANCELLED or edit.error is None:
        return ""
    return f"TokenFlow, {edit.strip_name}: {edit.error.message}"


def _say(edit: "StripEdit") -> None:
    text = ending_text(edit)
    windows = bpy.context.window_manager.windows
    if text and windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.tokenflow.say_ending(
                "INVOKE_DEFAULT", text=text, warns=edit.stage is not Stage.DONE
            )


classes = (TOKENFLOW_OT_say_ending, TOKENFLOW_OT_show_queue)


def register() -> None:
    on_end.append(_say)


def unregister() -> None:
    on_end.remove(_say)
