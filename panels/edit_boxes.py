"""One box for each edit: a bar while it runs, then what became of it."""

from __future__ import annotations

from bpy.types import Context, UILayout

from ..operators.running_edit import (
    TOKENFLOW_OT_cancel_edit,
    TOKENFLOW_OT_copy_report,
    TOKENFLOW_OT_dismiss_edit,
    TOKENFLOW_OT_open_frames,
)
from ..sequencer.strip_edit import Stage, StripEdit
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.jobs import JobState
from ..tokenflow_engine.client.progress import PHASES, Progress
from .wrapped_text import draw_wrapped

_PHASE_WORDS = {
    "prepare": "Loading the model",
    "invert": "Inverting",
    "correspond": "Matching frames",
    "edit": "Editing",
    "decode": "Writing frames",
}


def draw_edit(layout: UILayout, context: Context, edit: StripEdit) -> None:
    """Draw where an edit is, or how it ended."""
    box = layout.box()
    heading = box.row()
    heading.label(text=edit.strip_name, icon=_icon(edit))
    if edit.stage.finished:
        _dismiss(heading, edit.id)
    if edit.stage in (Stage.FAILED, Stage.UNPLACED) and edit.error is not None:
        _error(box, context, edit.error, edit.id, frames_kept=edit.result is not None)
    elif edit.stage is Stage.CANCELLED:
        box.label(text="Cancelled")
    elif edit.stage is Stage.DONE:
        _done(box, context, edit)
    else:
        _running(box, edit)


def draw_refusal(layout: UILayout, context: Context, error: TokenFlowError) -> None:
    """Draw why the last click began no edit."""
    box = layout.box()
    heading = box.row()
    heading.label(text="Not started", icon="ERROR")
    _dismiss(heading, "")
    _error(box, context, error, "")


def phase_text(progress: Progress) -> str:
    """Phase and time left, for example "3/5 Matching frames, 1:05 left"."""
    number = PHASES.index(progress.phase) + 1 if progress.phase in PHASES else 0
    words = _PHASE_WORDS.get(progress.phase, progress.phase.capitalize())
    return f"{number}/{len(PHASES)} {words}{_time_left(progress.eta_seconds)}"


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f", {clock} left"


def _icon(edit: StripEdit) -> str:
    return {
        Stage.FAILED: "ERROR",
        Stage.UNPLACED: "ERROR",
        Stage.CANCELLED: "CANCEL",
        Stage.DONE: "CHECKMARK",
    }.get(edit.stage, "SHADERFX")


def _running(box: UILayout, edit: StripEdit) -> None:
    factor, text = _bar(edit)
    box.progress(factor=factor, text=text)
    row = box.row()
    row.enabled = not edit.cancel_requested
    row.operator(TOKENFLOW_OT_cancel_edit.bl_idname, icon="CANCEL").edit_id = edit.id


def _bar(edit: StripEdit) -> tuple[float, str]:
    progress = edit.progress
    share = 0.0 if progress is None else progress.done / progress.total
    if edit.cancel_requested:
        return share, "Cancelling..."
    if edit.stage is Stage.PLACING:
        return 1.0, "Waiting for the Sequencer"
    if edit.stage is Stage.WAITING:
        return 0.0, "Waiting in the queue"
    if edit.stage is Stage.READING:
        return share, "Reading the strip"
    if progress is not None:
        return share, phase_text(progress)
    queued = edit.job is not None and edit.job.state is JobState.QUEUED
    return 0.0, "Waiting in the queue" if queued else "Starting the engine"


def _done(box: UILayout, context: Context, edit: StripEdit) -> None:
    draw_wrapped(box, context, f"{edit.result_name} is on channel {edit.channel}.")
    if edit.result is not None:
        for sentence in (edit.result.stability, *edit.result.warnings):
            draw_wrapped(box, context, sentence)
    box.operator(TOKENFLOW_OT_open_frames.bl_idname, icon="FILE_FOLDER").edit_id = edit.id


def _error(
    box: UILayout,
    context: Context,
    error: TokenFlowError,
    edit_id: str,
    *,
    frames_kept: bool = False,
) -> None:
    draw_wrapped(box, context, error.message, alert=True)
    draw_wrapped(box, context, error.remedy)
    buttons = box.row()
    if frames_kept:
        buttons.operator(TOKENFLOW_OT_open_frames.bl_idname, icon="FILE_FOLDER").edit_id = edit_id
    if error.details:
        buttons.operator(TOKENFLOW_OT_copy_report.bl_idname, icon="COPYDOWN").edit_id = edit_id


def _dismiss(row: UILayout, edit_id: str) -> None:
    button = row.operator(TOKENFLOW_OT_dismiss_edit.bl_idname, text="", icon="X", emboss=False)
    button.edit_id = edit_id
