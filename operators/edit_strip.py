"""The button TokenFlow Edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy
from bpy.types import Context, Event, Operator, Strip

from ..sequencer.compatibility import sequencer_scene
from ..sequencer.queue_timer import edit_queue, ensure_ticking
from ..sequencer.settings import request_template
from ..sequencer.source_strip import obstacle, strips_to_edit
from ..tokenflow_engine.client.errors import TokenFlowError

if TYPE_CHECKING:
    from ..sequencer.strip_edit import StripEdit


class TOKENFLOW_OT_edit_strip(Operator):
    """Edit each selected strip by the prompt; every result lands above its strip"""

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
        strips: list[Strip | None] = [*_editable(context)] or [None]
        refusals = [
            edit_queue().refusal
            for strip in strips
            if self._start(context, strip, here=False) is None
        ]
        count = len(strips) - len(refusals)
        # The panel shows one: a strip that began must not hide why another did not.
        edit_queue().refusal = refusals[0] if refusals else None
        if not count:
            return {"CANCELLED"}
        if len(strips) > 1:
            self.report({"INFO"}, f"{count} of {len(strips)} selected strips are being edited")
        ensure_ticking()
        return {"FINISHED"}

    def execute(self, context: Context) -> set[str]:
        """Without a window, or called from a script: wait for the result strips, one by one."""
        # By name: a result that arrives moves the other strips in memory.
        names = [strip.name for strip in _editable(context)] or [""]
        done = [self._edit(context, name) for name in names]
        return {"FINISHED"} if any(done) else {"CANCELLED"}

    def _edit(self, context: Context, name: str) -> bool:
        editor = sequencer_scene(context).sequence_editor
        strip = editor.strips_all.get(name) if editor is not None else None
        edit = self._start(context, strip, here=True)
        if edit is None:
            return False
        try:
            result = edit_queue().run_to_end(edit)
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return False
        for warning in edit.result.warnings if edit.result is not None else ():
            self.report({"WARNING"}, warning)
        self.report({"INFO"}, f"{result.name} is on channel {result.channel}")
        return True

    def _start(self, context: Context, strip: Strip | None, *, here: bool) -> StripEdit | None:
        scene = sequencer_scene(context)
        template = request_template(scene.tokenflow)
        try:
            return edit_queue().start(scene, strip, template, here=here)
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return None


def _editable(context: Context) -> list[Strip]:
    """The selected strips that nothing visible speaks against; all of them if there is none."""
    strips = strips_to_edit(context)
    return [strip for strip in strips if obstacle(strip) is None] or strips


def _reason_to_wait(context: Context) -> str:
    """Why the button is grey, empty if it is not; looks at nothing on the disk."""
    strips = _editable(context)
    found = obstacle(strips[0] if strips else None)
    if found is not None and len(strips) > 1:
        return f"None of the {len(strips)} selected strips can be edited. {found}"
    if found is not None:
        return str(found)
    template = request_template(sequencer_scene(context).tokenflow)
    if not template.prompt.strip():
        return "The prompt is empty. Type what the strip should show."
    queue = edit_queue()
    if all(queue.holds(strip, template) for strip in strips):
        if len(strips) > 1:
            return f"All {len(strips)} edits are in the queue. Change the prompt or the seed."
        return "This edit is in the queue. Change the prompt or the seed to queue another."
    return ""


classes = (TOKENFLOW_OT_edit_strip,)
