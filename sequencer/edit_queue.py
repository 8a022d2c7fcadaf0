"""All edits of this Blender, from click to result strip, advanced by one function."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import Cancelled, TokenFlowError
from ..tokenflow_engine.client.jobs import JobState
from ..tokenflow_engine.client.launcher import EngineCommand
from ..tokenflow_engine.client.progress import Progress
from ..tokenflow_engine.client.session import EngineSession
from .engine_command import engine_command, own_folder
from .frames_folder import new_frames_folder
from .result_strip import add_result_strip
from .settings import with_paths
from .source_strip import check
from .strip_alone import frames_of
from .strip_edit import Stage, StripEdit
from .strip_frames import read
from .strip_identity import locate, unique_strip_uid

_SECONDS_BETWEEN_BLOCKING_POLLS = 0.02


class EditQueue:
    """The edits and the engine they share. Nothing here blocks except `run_to_end`."""

    def __init__(self) -> None:
        self.edits: list[StripEdit] = []
        self.refusal: TokenFlowError | None = None
        """Why the last click began no edit."""
        self._session: EngineSession | None = None
        self._command: EngineCommand | None = None

    @property
    def unfinished(self) -> list[StripEdit]:
        return [edit for edit in self.edits if not edit.stage.finished]

    def edit_of(self, strip: Strip) -> StripEdit | None:
        """The unfinished edit of a strip."""
        uid = strip.tokenflow.uid
        return next((edit for edit in self.unfinished if edit.uid == uid), None) if uid else None

    def find(self, uid: str) -> StripEdit | None:
        """The edit with this uid; the latest if the uid is empty."""
        return next((edit for edit in reversed(self.edits) if uid in ("", edit.uid)), None)

    def start(
        self,
        scene: Scene,
        strip: Strip | None,
        template: EditRequest,
        *,
        here: bool,
        output: Path | None = None,
    ) -> StripEdit:
        """Begin to edit a strip; nothing has changed if this raises.

        template: the request without source and output.
        here: render the strip's frames in this process, for a caller that waits anyway.
        output: folder for the edited frames; a new one in the place the user chose if None.

        Raises:
            TokenFlowError: for a strip, a value or an engine that will not do.
        """
        try:
            edit = self._begin(scene, check(strip), template, here, output)
        except TokenFlowError as error:
            self.refusal = error
            raise
        self.refusal = None
        self.edits = [*(old for old in self.edits if old.uid != edit.uid), edit]
        return edit

    def _begin(
        self, scene: Scene, strip: Strip, template: EditRequest, here: bool, output: Path | None
    ) -> StripEdit:
        if self.edit_of(strip) is not None:
            raise TokenFlowError(
                "bad_request",
                f'"{strip.name}" is being edited already.',
                "Wait for the result, or cancel it.",
            )
        if bpy.app.is_job_running("RENDER"):
            raise TokenFlowError(
                "bad_request", "Blender is rendering.", "Start the edit when it has finished."
            )
        frames = frames_of(scene, strip)
        if frames.count < 2:
            raise TokenFlowError(
                "bad_request",
                f'"{strip.name}" has only one frame; an edit needs at least two.',
                "Choose a movie or an image sequence, or make the strip longer.",
            )
        command = engine_command()
        taken = {Path(edit.request.output) for edit in self.unfinished}
        folder = output or new_frames_folder(scene, strip.name, taken)
        work = Path(tempfile.mkdtemp(prefix="tokenflow_", dir=bpy.app.tempdir))
        source = work / "frames"
        try:
            request = with_paths(template, source, folder)
            source.mkdir()
            reading = read(scene, strip, frames, source, here=here)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        self._use_engine(command)
        return StripEdit(
            uid=unique_strip_uid(strip),
            scene_uid=scene.session_uid,
            strip_name=strip.name,
            frames=frames,
            request=request,
            work=work,
            new_place=None if folder.parent.exists() else folder.parent,
            reading=reading,
            progress=Progress("prepare", 0, frames.count),
        )

    def cancel(self, edit: StripEdit) -> None:
        """Ask to end an edit; returns at once."""
        edit.cancel_requested = True
        if edit.job is None or edit.stage is Stage.PLACING:
            self._finish(edit, Stage.CANCELLED)
        elif self._session is not None:
            self._session.cancel(edit.job)

    def dismiss(self, edit: StripEdit) -> None:
        """Forget a finished edit; its strip and frames stay."""
        self.edits = [other for other in self.edits if other is not edit or not edit.stage.finished]

    def poll(self, budget_seconds: float = 0.002) -> bool:
        """Take every edit as far as it gets without waiting.

        Returns whether anything that the panel shows has changed.
        """
        before = [edit.seen for edit in self.edits]
        for edit in self.unfinished:
            try:
                if self._session is not None:
                    self._session.poll(budget_seconds / len(self.edits))
                self._advance(edit)
            except TokenFlowError as error:
                self._fail(edit, error)
            except Exception as error:
                # An edit that raises must not stop the timer, and with it all other edits.
                self._fail(edit, _internal(error))
        return before != [edit.seen for edit in self.edits]

    def run_to_end(
        self, edit: StripEdit, on_progress: Callable[[StripEdit], None] | None = None
    ) -> Strip:
        """Wait for an edit and return the result strip.

        Raises:
            TokenFlowError: the edit failed; `Cancelled` if it was cancelled.
        """
        try:
            while not edit.stage.finished:
                if self.poll() and on_progress is not None:
                    on_progress(edit)
                if edit.stage is Stage.ENGINE:
                    time.sleep(_SECONDS_BETWEEN_BLOCKING_POLLS)
        except BaseException:
            # Ctrl-C in a terminal: the temporary scene must not be left in the project.
            self.cancel(edit)
            raise
        if edit.error is not None:
            raise edit.error
        found = locate(edit.uid, edit.scene_uid, edit.strip_name)
        if edit.stage is Stage.CANCELLED or found is None:
            raise Cancelled()
        return found[0].sequence_editor.strips_all[edit.result_name]

    def close(self) -> None:
        """End all edits and the engine."""
        for edit in self.unfinished:
            self._finish(edit, Stage.CANCELLED)
        if self._session is not None:
            self._session.close()
            self._session = None

    def _use_engine(self, command: EngineCommand) -> None:
        """Keep the engine that runs, unless the user chose another and it has no more to do."""
        if self._session is not None and (command == self._command or self.unfinished):
            return
        if self._session is not None:
            self._session.close()
        runtime = Path(bpy.app.tempdir) / "tokenflow_engine"
        self._session = EngineSession(command, runtime, own_folder("logs") / "engine.log")
        self._command = command

    def _advance(self, edit: StripEdit) -> None:
        if edit.stage is Stage.READING:
            edit.progress = edit.reading.advance()
            if edit.reading.finished and self._session is not None:
                edit.job = self._session.submit(edit.request)
                edit.progress = None
                edit.stage = Stage.ENGINE
        elif edit.stage is Stage.ENGINE and edit.job is not None:
            edit.progress = edit.job.progress
            if edit.job.state is JobState.DONE:
                edit.result = edit.job.result
                edit.stage = Stage.PLACING
            elif edit.job.state is JobState.CANCELLED:
                self._finish(edit, Stage.CANCELLED)
            elif edit.job.state is JobState.FAILED:
                raise edit.job.error or _internal(RuntimeError("the engine gave no reason"))
        elif edit.stage is Stage.PLACING and not _sequencer_is_occupied():
            self._place(edit)

    def _place(self, edit: StripEdit) -> None:
        result = edit.result
        if result is None:
            raise _internal(RuntimeError("the engine gave no result"))
        found = locate(edit.uid, edit.scene_uid, edit.strip_name)
        if found is None:
            raise TokenFlowError(
                "bad_request",
                f'The strip "{edit.strip_name}" is gone, so its edit has no place.',
                f"The edited frames are in {result.output}.",
            )
        pictures = [Path(result.output) / f"{n:05d}.png" for n in range(result.frame_count)]
        try:
            scene, source = found
            # Undo may have taken the mark off.
            source.tokenflow.uid = edit.uid
            strip = add_result_strip(scene, source, edit.frames, pictures, edit.request, result)
        except TokenFlowError as error:
            error.remedy += f" The edited frames are in {result.output}."
            raise
        edit.result_name, edit.channel = strip.name, strip.channel
        self._finish(edit, Stage.DONE)
        _push_undo_step()

    def _fail(self, edit: StripEdit, error: TokenFlowError) -> None:
        edit.error = error
        self._finish(edit, Stage.FAILED)

    def _finish(self, edit: StripEdit, stage: Stage) -> None:
        edit.stage = stage
        edit.reading.close()
        if edit.job is not None and self._session is not None:
            if not edit.job.state.finished:
                self._session.cancel(edit.job)
            self._session.jobs.pop(edit.job.id, None)
        # Hundreds of files take longer to delete than a tick may take.
        threading.Thread(target=_clean_up, args=(edit,), daemon=True).start()


def _clean_up(edit: StripEdit) -> None:
    shutil.rmtree(edit.work, ignore_errors=True)
    if edit.new_place is not None:
        # Only an empty folder can be removed this way.
        with contextlib.suppress(OSError):
            edit.new_place.rmdir()


def _internal(error: Exception) -> TokenFlowError:
    return TokenFlowError(
        "internal",
        f"Something unexpected happened: {error}",
        "Copy the report and send it to the developers.",
        "".join(traceback.format_exception(error)),
    )


def _sequencer_is_occupied() -> bool:
    """Whether a render or the user's hand holds on to the strips just now."""
    if bpy.app.is_job_running("RENDER"):
        return True
    return any(
        operator.bl_idname.startswith(("TRANSFORM_OT_", "SEQUENCER_OT_"))
        for window in bpy.context.window_manager.windows
        for operator in window.modal_operators
    )


def _push_undo_step() -> None:
    """Make the new strip one step of its own; without a window there is no undo."""
    windows = bpy.context.window_manager.windows
    if bpy.app.background or not windows:
        return
    with bpy.context.temp_override(window=windows[0]):
        bpy.ops.ed.undo_push(message="TokenFlow Edit")
