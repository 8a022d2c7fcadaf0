"""What becomes of an edit's frames when the engine has made them, by the kind of edit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.progress import EditResult
from .compatibility import sequencer_scene
from .preview_pictures import show_preview
from .result_strip import add_result_strip, add_result_without_source
from .strip_edit import StripEdit
from .strip_identity import is_open, known_uids, locate
from .takes import show_only, takes_of


def place_result(edit: StripEdit) -> None:
    """Put the edited frames above their source, in one undo step.

    Raises:
        TokenFlowError: they have no place in the project that is open; they stay where they are.
    """
    found = source_of(edit)
    if found is None and edit.blend and not is_open(edit.blend):
        raise _no_place(
            edit,
            f'The result belongs to "{Path(edit.blend).name}", which is not open.',
            "Open it, then place the result.",
        )
    if found is None:
        raise _no_place(
            edit,
            f'The strip "{edit.strip_name}" is gone, so its edit has no place.',
            "Place the result without it, or undo what removed it first.",
        )
    scene, source = found
    # Undo may have taken the mark off.
    source.tokenflow.uid = edit.uid
    try:
        strip = add_result_strip(
            scene, source, edit.frames, _pictures(edit), edit.request, _result(edit)
        )
    except TokenFlowError as error:
        raise _no_place(edit, error.message, error.remedy) from error
    _show_alone(scene, strip)
    _remember(edit, strip)


def place_anywhere(edit: StripEdit) -> None:
    """Put the edited frames above their source or, where that is gone, at the frames that it had.

    For a result that the user asked to place. One that lies in the project already stays alone.

    Raises:
        TokenFlowError: the frames were deleted or moved, or no channel is free.
    """
    if edit.result_uid and edit.result_uid in known_uids():
        return
    pictures = _pictures(edit)
    missing = next((picture for picture in pictures if not picture.is_file()), None)
    if missing is not None:
        raise TokenFlowError(
            "unreadable_source",
            f"The edited frame {missing} is missing.",
            "Put the folder back, or make the edit again.",
        )
    if source_of(edit) is not None:
        place_result(edit)
        return
    scene = sequencer_scene(bpy.context)
    strip = add_result_without_source(
        scene, edit.strip_name, edit.frames, pictures, edit.request, _result(edit)
    )
    _remember(edit, strip)


def source_of(edit: StripEdit) -> tuple[Scene, Strip] | None:
    """Where the edit's source strip is by now; None if it is not in the open project."""
    return locate(edit.uid, edit.scene_uid, edit.strip_name, edit.scene_name, edit.blend)


def _show_alone(scene: Scene, strip: Strip) -> None:
    """Of several takes the newest shows, as if it had been switched to."""
    takes = takes_of(scene, strip)
    if takes is not None:
        show_only(takes, takes.find(strip.tokenflow.uid))


DELIVERIES: dict[str, Callable[[StripEdit], None]] = {
    "edit": place_result,
    "preview": show_preview,
}
"""By `StripEdit.kind`. Each is called once the frames are there and the Sequencer is free, and may
raise a TokenFlowError, after which the edit stands as not placed."""


_HANDS = ("TRANSFORM_OT_", "SEQUENCER_OT_", "TOKENFLOW_OT_compare_takes")
"""Operators that hold on to strips while they run."""


def sequencer_is_occupied() -> bool:
    """Whether a render or the user's hand holds on to the strips just now."""
    if bpy.app.is_job_running("RENDER"):
        return True
    return any(
        operator.bl_idname.startswith(_HANDS)
        for window in bpy.context.window_manager.windows
        for operator in window.modal_operators
    )


def _pictures(edit: StripEdit) -> list[Path]:
    result = _result(edit)
    return [Path(result.output) / edit.request.picture_name(n) for n in range(result.frame_count)]


def _result(edit: StripEdit) -> EditResult:
    assert edit.result is not None
    return edit.result


def _no_place(edit: StripEdit, message: str, remedy: str) -> TokenFlowError:
    where = f"The edited frames are in {_result(edit).output}."
    return TokenFlowError("bad_request", message, f"{remedy} {where}")


def _remember(edit: StripEdit, strip: Strip) -> None:
    edit.result_name, edit.channel = strip.name, strip.channel
    edit.result_uid = strip.tokenflow.uid
    _push_undo_step()


def _push_undo_step() -> None:
    """Make the new strip one step of its own; without a window there is no undo."""
    windows = bpy.context.window_manager.windows
    if bpy.app.background or not windows:
        return
    with bpy.context.temp_override(window=windows[0]):
        bpy.ops.ed.undo_push(message="TokenFlow Edit")
