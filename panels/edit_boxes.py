"""One edit in words: where it is while it runs, then what became of it, with its buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpy.types import Context, UILayout

from ..operators.remedies import remedies
from ..operators.running_edit import (
    TOKENFLOW_OT_cancel_edit,
    TOKENFLOW_OT_dismiss_edit,
    TOKENFLOW_OT_open_frames,
    TOKENFLOW_OT_place_result,
    TOKENFLOW_OT_retry_edit,
    TOKENFLOW_OT_stop_engine,
)
from ..sequencer.stage import Stage
from .preview import draw_preview
from .wrapped_text import draw_wrapped

if TYPE_CHECKING:
    from ..sequencer.strip_edit import StripEdit
    from ..tokenflow_engine.client.errors import TokenFlowError
    from ..tokenflow_engine.client.progress import Progress

_PHASE_WORDS = {
    "prepare": "Loading the model",
    "invert": "Inverting",
    "correspond": "Matching frames",
    "edit": "Editing",
    "decode": "Writing frames",
}
_ENDS = {
    Stage.DONE: ("Done", "CHECKMARK"),
    Stage.FAILED: ("Failed", "ERROR"),
    Stage.CANCELLED: ("Cancelled", "CANCEL"),
    Stage.UNPLACED: ("Not placed", "ERROR"),
    Stage.INTERRUPTED: ("Interrupted", "PAUSE"),
}
_BUTTONS_IN_A_ROW = 2


def draw_edit(layout: UILayout, context: Context, edit: StripEdit) -> None:
    """Draw where an edit is, or how it ended."""
    box = layout.box()
    heading = box.row()
    heading.label(text=f"\u201c{edit.request.prompt}\u201d", translate=False)
    if edit.stage.finished:
        _dismiss(heading, edit.id)
    if edit.stage is Stage.DONE:
        _done(box, context, edit)
    elif edit.error is not None and edit.stage in (Stage.FAILED, Stage.UNPLACED):
        draw_error(box, context, edit.error, edit)
    elif edit.stage is Stage.UNPLACED:
        draw_wrapped(box, context, "It is finished, and its result is not in this project.")
        _buttons_to_place(box, edit)
    elif edit.stage is Stage.INTERRUPTED:
        draw_wrapped(box, context, "Blender ended before it did. Finished phases are kept.")
        _retry(box, edit, "Resume")
    elif edit.stage is Stage.CANCELLED:
        box.label(text="Cancelled")
        _retry(box, edit, "Retry")
    else:
        _running(box, edit)


def draw_refusal(layout: UILayout, context: Context, error: TokenFlowError) -> None:
    """Draw why the last click began no edit."""
    box = layout.box()
    heading = box.row()
    heading.label(text="Not started", icon="ERROR")
    _dismiss(heading, "")
    draw_error(box, context, error, None)


def draw_error(
    layout: UILayout, context: Context, error: TokenFlowError, edit: StripEdit | None
) -> None:
    """Draw what is wrong, what to do about it, and a button for each thing to do."""
    draw_wrapped(layout, context, error.message, alert=True)
    draw_wrapped(layout, context, error.remedy)
    buttons = remedies(error, edit)
    for start in range(0, len(buttons), _BUTTONS_IN_A_ROW):
        row = layout.row(align=True)
        for button in buttons[start : start + _BUTTONS_IN_A_ROW]:
            drawn = row.operator(button.operator, text=button.text, icon=button.icon)
            if edit is not None and "edit_id" in drawn.bl_rna.properties:
                drawn.edit_id = edit.id


def icon_of(edit: StripEdit) -> str:
    return _ENDS[edit.stage][1] if edit.stage.finished else "SHADERFX"


def share_and_text(edit: StripEdit) -> tuple[float, str]:
    """How much of the phase is done, [0, 1], and where the edit is in words."""
    progress = edit.progress
    share = 0.0 if progress is None else progress.done / progress.total
    if edit.stage.finished:
        return 1.0, _ENDS[edit.stage][0]
    if edit.cancel_requested:
        return share, "Cancelling..."
    if edit.stage is Stage.PLACING:
        return 1.0, "Waiting for the Sequencer"
    if edit.stage is Stage.WAITING:
        return 0.0, "Waiting"
    if edit.stage is Stage.READING:
        return share, "Reading the strip"
    if progress is not None:
        return share, phase_text(progress)
    return 0.0, "Waiting" if edit.is_queued else "Starting the engine"


def phase_text(progress: Progress) -> str:
    """Phase and time left, for example "3/5 Matching frames, 1:05 left"."""
    number, count = progress.place
    words = _PHASE_WORDS.get(progress.phase, progress.phase.capitalize())
    return f"{number}/{count} {words}{_time_left(progress.eta_seconds)}"


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f", {clock} left"


def _running(box: UILayout, edit: StripEdit) -> None:
    factor, text = share_and_text(edit)
    box.progress(factor=factor, text=text)
    if edit.cancel_requested:
        # One step of a large model may take a minute on a processor.
        box.operator(TOKENFLOW_OT_stop_engine.bl_idname, icon="CANCEL")
    else:
        box.operator(TOKENFLOW_OT_cancel_edit.bl_idname, icon="CANCEL").edit_id = edit.id


def _done(box: UILayout, context: Context, edit: StripEdit) -> None:
    if edit.kind == "preview":
        draw_preview(box, context, edit)
        return
    draw_wrapped(box, context, f"{edit.result_name} is on channel {edit.channel}.")
    if edit.result is not None:
        for sentence in (edit.result.stability, *edit.result.warnings):
            draw_wrapped(box, context, sentence)
    box.operator(TOKENFLOW_OT_open_frames.bl_idname, icon="FILE_FOLDER").edit_id = edit.id


def _buttons_to_place(box: UILayout, edit: StripEdit) -> None:
    row = box.row(align=True)
    row.operator(TOKENFLOW_OT_place_result.bl_idname, icon="SEQUENCE").edit_id = edit.id
    row.operator(TOKENFLOW_OT_open_frames.bl_idname, icon="FILE_FOLDER").edit_id = edit.id


def _retry(box: UILayout, edit: StripEdit, text: str) -> None:
    button = box.operator(TOKENFLOW_OT_retry_edit.bl_idname, text=text, icon="FILE_REFRESH")
    button.edit_id = edit.id


def _dismiss(row: UILayout, edit_id: str) -> None:
    button = row.operator(TOKENFLOW_OT_dismiss_edit.bl_idname, text="", icon="X", emboss=False)
    button.edit_id = edit_id
