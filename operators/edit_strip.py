"""The button TokenFlow Edit."""

from __future__ import annotations

import bpy
from bpy.types import Context, Event, Operator

from ..sequencer.compatibility import sequencer_scene
from ..sequencer.queue_timer import edit_queue, ensure_ticking
from ..sequencer.settings import request_template
from ..sequencer.source_strip import active_strip, obstacle
from ..sequencer.strip_edit import StripEdit
from ..tokenflow_engine.client.errors import TokenFlowError


class TOKENFLOW_OT_edit_strip(Operator):
    """Edit the selected movie or image strip by the prompt; the result lands above it"""

    bl_idname = "tokenflow.edit_strip"
    bl_label = "TokenFlow Edit"
    # No UNDO: the result strip, which arrives later, is the undo step.
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = _reason_to_wait(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: Context, event: Event) -> set[str]:
        if bpy.app.background:
            return self.execute(context)
        if self._start(context, here=False) is None:
            return {"CANCELLED"}
        ensure_ticking()
        return {"FINISHED"}

    def execute(self, context: Context) -> set[str]:
        """Without a window, or called from a script: wait for the result strip."""
        edit = self._start(context, here=True)
        if edit is None:
            return {"CANCELLED"}
        try:
            strip = edit_queue().run_to_end(edit)
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for warning in edit.result.warnings if edit.result is not None else ():
            self.report({"WARNING"}, warning)
        self.report({"INFO"}, f"{strip.name} is on channel {strip.channel}")
        return {"FINISHED"}

    def _start(self, context: Context, *, here: bool) -> StripEdit | None:
        scene = sequencer_scene(context)
        template = request_template(scene.tokenflow)
        try:
            return edit_queue().start(scene, active_strip(context), template, here=here)
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return None


def _reason_to_wait(context: Context) -> str:
    """Why the button is grey, empty if it is not; looks at nothing on the disk."""
    strip = active_strip(context)
    found = obstacle(strip)
    if found is not None:
        return str(found)
    template = request_template(sequencer_scene(context).tokenflow)
    if not template.prompt.strip():
        return "The prompt is empty. Type what the strip should show."
    if strip is not None and edit_queue().holds(strip, template):
        return "This edit is in the queue. Change the prompt or the seed to queue another."
    return ""


classes = (TOKENFLOW_OT_edit_strip,)
