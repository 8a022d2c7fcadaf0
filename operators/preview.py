"""A few edited frames before the whole edit: looked at, approved, or tried with another seed."""

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import bpy
from bpy.props import StringProperty
from bpy.types import Context, Event, Operator

from ..sequencer.compatibility import sequencer_scene
from ..sequencer.preview_pictures import discard_preview, new_preview_folder, pictures_of
from ..sequencer.queue_timer import edit_queue, ensure_ticking
from ..sequencer.settings import request_template
from ..sequencer.source_strip import active_strip, obstacle
from ..sequencer.stage import Stage
from ..tokenflow_engine.client.edit_request import BOUNDS, EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError

if TYPE_CHECKING:
    from ..sequencer.strip_edit import StripEdit

PREVIEW = "preview"
"""`StripEdit.kind` of a preview."""

VARIATION_OF_A_REROLL = 0.3
"""Without some fresh noise another seed would draw nearly the same picture."""

_SECONDS_BETWEEN_POLLS = 0.02


class TOKENFLOW_OT_preview_edit(Operator):
    """Edit a few frames of the strip in seconds, to see what the whole edit will look like"""

    bl_idname = "tokenflow.preview_edit"
    bl_label = "Preview"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = _reason_to_wait(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: Context, event: Event) -> set[str]:
        return _begin(self, context, _template(context), wait=bpy.app.background)

    def execute(self, context: Context) -> set[str]:
        """Without a window, or called from a script: wait for the pictures."""
        return _begin(self, context, _template(context), wait=True)


class _OfOnePreview:
    """An operator on the preview whose id it is given."""

    bl_options = {"INTERNAL"}

    edit_id: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def preview(self) -> "StripEdit | None":
        edit = edit_queue().find(self.edit_id) if self.edit_id else None
        return edit if edit is not None and edit.kind == PREVIEW and edit.stage.finished else None


class TOKENFLOW_OT_approve_preview(_OfOnePreview, Operator):
    """Start the whole edit with exactly the prompt, seed and strengths of this preview"""

    bl_idname = "tokenflow.approve_preview"
    bl_label = "Approve"

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.delivery import source_of

        preview = self.preview()
        if preview is None:
            return {"CANCELLED"}
        found = source_of(preview)
        if found is None:
            self.report({"ERROR"}, f'The strip "{preview.strip_name}" is gone.')
            return {"CANCELLED"}
        template = replace(preview.request, source="", output="", preview_frames=0)
        try:
            edit_queue().start(*found, template, here=bpy.app.background)
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        _discard(preview)
        ensure_ticking()
        return {"FINISHED"}


class TOKENFLOW_OT_reroll_preview(_OfOnePreview, Operator):
    """Preview the same prompt with another seed; the start gets some fresh noise (Variation)"""

    bl_idname = "tokenflow.reroll_preview"
    bl_label = "Reroll"

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.delivery import source_of

        preview = self.preview()
        found = None if preview is None else source_of(preview)
        if preview is None or found is None:
            self.report({"ERROR"}, "The strip of this preview is gone.")
            return {"CANCELLED"}
        low, high = BOUNDS["seed"]
        template = replace(
            preview.request,
            source="",
            output="",
            seed=random.randint(int(low), int(high)),
            variation=preview.request.variation or VARIATION_OF_A_REROLL,
        )
        settings = found[0].tokenflow
        settings.seed, settings.variation = template.seed, template.variation
        return _begin(self, context, template, wait=bpy.app.background, again=preview)


def _template(context: Context) -> EditRequest:
    settings = sequencer_scene(context).tokenflow
    return replace(request_template(settings), preview_frames=settings.preview_frames)


def _begin(
    operator: Operator,
    context: Context,
    template: EditRequest,
    *,
    wait: bool,
    again: "StripEdit | None" = None,
) -> set[str]:
    from ..sequencer.delivery import source_of

    queue = edit_queue()
    found = None if again is None else source_of(again)
    scene, strip = found or (sequencer_scene(context), active_strip(context))
    try:
        edit = queue.start(
            scene, strip, template, here=wait, output=new_preview_folder(), kind=PREVIEW
        )
    except TokenFlowError as error:
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    for older in [old for old in queue.edits if old.uid == edit.uid and old is not edit]:
        if older.kind == PREVIEW and older.stage.finished:
            _discard(older)
    if not wait:
        ensure_ticking()
        return {"FINISHED"}
    while not edit.stage.finished:
        queue.poll()
        time.sleep(_SECONDS_BETWEEN_POLLS)
    if edit.stage is not Stage.DONE:
        operator.report({"ERROR"}, str(edit.error or "The preview was cancelled."))
        return {"CANCELLED"}
    operator.report({"INFO"}, f"The preview is in {pictures_of(edit)[0].parent}")
    return {"FINISHED"}


def _discard(preview: "StripEdit") -> None:
    edit_queue().dismiss(preview)
    discard_preview(preview)


def _reason_to_wait(context: Context) -> str:
    """Why the button is grey, empty if it is not; looks at nothing on the disk."""
    strip = active_strip(context)
    found = obstacle(strip)
    if found is not None:
        return str(found)
    template = _template(context)
    if not template.prompt.strip():
        return "The prompt is empty. Type what the strip should show."
    if strip is not None and edit_queue().holds(strip, template):
        return "This preview is on its way. Change the prompt or the seed for another."
    return ""


classes = (TOKENFLOW_OT_preview_edit, TOKENFLOW_OT_approve_preview, TOKENFLOW_OT_reroll_preview)
