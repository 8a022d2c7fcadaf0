"""All edits of this Blender, from click to result strip, advanced by one function."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bpy.types import Scene, Strip

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import Cancelled, TokenFlowError
from ..tokenflow_engine.client.jobs import JobState
from .begin_edit import begin_edit
from .delivery import DELIVERIES, sequencer_is_occupied
from .engine_command import engine_command
from .engine_connection import EngineConnection
from .source_strip import check
from .strip_edit import Stage, StripEdit
from .strip_identity import locate

_SECONDS_BETWEEN_BLOCKING_POLLS = 0.02
_READ_AHEAD = 2
"""Edits that are rendered before the engine can take them: enough that it never waits for frames,
without those of a whole queue on the disk."""


class EditQueue:
    """The edits and the engine they share. Nothing here blocks except `run_to_end`."""

    def __init__(self) -> None:
        self.edits: list[StripEdit] = []
        """In the order in which they run."""
        self.refusal: TokenFlowError | None = None
        """Why the last click began no edit."""
        self.engine = EngineConnection()

    @property
    def unfinished(self) -> list[StripEdit]:
        return [edit for edit in self.edits if not edit.stage.finished]

    def edits_of(self, strip: Strip) -> list[StripEdit]:
        """The unfinished edits of a strip."""
        uid = strip.tokenflow.uid
        return [edit for edit in self.unfinished if edit.uid == uid] if uid else []

    def find(self, edit_id: str) -> StripEdit | None:
        """The edit with this id; the latest if the id is empty."""
        return next((edit for edit in reversed(self.edits) if edit_id in ("", edit.id)), None)

    def holds(self, strip: Strip, template: EditRequest) -> bool:
        """Whether this very edit of the strip is under way: a second one would be the same."""
        return any(
            replace(edit.request, source=template.source, output=template.output) == template
            for edit in self.edits_of(strip)
            if not edit.cancel_requested
        )

    def start(
        self,
        scene: Scene,
        strip: Strip | None,
        template: EditRequest,
        *,
        here: bool,
        output: Path | None = None,
        kind: str = "edit",
    ) -> StripEdit:
        """Put an edit of a strip in line; nothing has changed if this raises.

        template: the request without source and output.
        here: render the strip's frames in this process, for a caller that waits anyway.
        output: folder for the edited frames; a new one in the place the user chose if None.
        kind: what becomes of the frames, a key of `DELIVERIES`.

        Raises:
            TokenFlowError: for a strip, a value or an engine that will not do.
        """
        try:
            strip = check(strip)
            if self.holds(strip, template):
                raise TokenFlowError(
                    "bad_request",
                    f'This edit of "{strip.name}" is in the queue already.',
                    "Change the prompt or the seed to queue another, or wait for the result.",
                )
            command = engine_command()
            taken = {Path(edit.request.output) for edit in self.unfinished}
            edit = begin_edit(
                scene, strip, template, kind=kind, here=here, output=output, taken=taken
            )
        except TokenFlowError as error:
            self.refusal = error
            raise
        self.engine.use(command, busy=bool(self.unfinished))
        self.refusal = None
        if self._may_read():
            edit.stage = Stage.READING
        self.edits.append(edit)
        return edit

    def cancel(self, edit: StripEdit) -> None:
        """Ask to end an edit; returns at once."""
        if edit.stage.finished:
            return
        edit.cancel_requested = True
        if edit.job is None or edit.stage is Stage.PLACING:
            self._finish(edit, Stage.CANCELLED)
        else:
            self.engine.cancel(edit.job)

    def dismiss(self, edit: StripEdit) -> None:
        """Forget a finished edit; its strip and frames stay."""
        self.edits = [other for other in self.edits if other is not edit or not edit.stage.finished]

    def poll(self, budget_seconds: float = 0.002) -> bool:
        """Take every edit as far as it gets without waiting.

        Returns whether anything that the panel shows has changed.
        """
        before = [edit.seen for edit in self.edits]
        self.engine.poll(budget_seconds)
        for edit in self.unfinished:
            try:
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
                if edit.stage is not Stage.READING:
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
        self.engine.close()

    def _may_read(self) -> bool:
        stages = [edit.stage for edit in self.edits]
        return Stage.READING not in stages and stages.count(Stage.ENGINE) <= _READ_AHEAD

    def _advance(self, edit: StripEdit) -> None:
        if edit.stage is Stage.WAITING and self._may_read():
            edit.stage = Stage.READING
        elif edit.stage is Stage.READING:
            edit.progress = edit.reading.advance()
            if edit.reading.finished:
                edit.job = self.engine.submit(edit.request)
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
        elif edit.stage is Stage.PLACING and not sequencer_is_occupied():
            if edit.result is None:
                raise _internal(RuntimeError("the engine gave no result"))
            DELIVERIES[edit.kind](edit)
            self._finish(edit, Stage.DONE)

    def _fail(self, edit: StripEdit, error: TokenFlowError) -> None:
        edit.error = error
        self._finish(edit, Stage.FAILED if edit.result is None else Stage.UNPLACED)

    def _finish(self, edit: StripEdit, stage: Stage) -> None:
        edit.stage = stage
        edit.reading.close()
        if edit.job is not None:
            self.engine.forget(edit.job)
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
