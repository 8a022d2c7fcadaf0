"""All edits of this Blender, from click to result strip, advanced by one function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bpy.types import Scene, Strip

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import Cancelled, TokenFlowError
from .begin_edit import begin_edit, begin_reading
from .delivery import place_anywhere, source_of
from .edit_progress import EditProgress
from .edit_record import edit_from, record_of
from .engine_command import engine_command
from .engine_connection import EngineConnection
from .frames_folder import unused_folder
from .queue_store import QueueStore
from .source_strip import check
from .stage import Stage
from .strip_edit import StripEdit
from .strip_frames import FramesAtHand

_SECONDS_BETWEEN_BLOCKING_POLLS = 0.02


class EditQueue:
    """The edits and the engine they share. Nothing here blocks except `run_to_end` and `close`."""

    def __init__(self, store: QueueStore) -> None:
        self.edits: list[StripEdit] = []
        """In the order in which they run."""
        self.refusal: TokenFlowError | None = None
        """Why the last click began no edit."""
        self.engine = EngineConnection()
        self._store = store
        self._progress = EditProgress(self)
        self._kept: dict[Path, tuple[object, ...]] = {}

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
            edit = begin_edit(
                scene,
                strip,
                template,
                self._store,
                kind=kind,
                here=here,
                output=output,
                taken=self._taken(),
            )
        except TokenFlowError as error:
            self.refusal = error
            raise
        self.engine.use(command, busy=bool(self.unfinished))
        self.refusal = None
        self.edits.append(edit)
        self._progress.advance(edit)
        self._keep_records()
        return edit

    def retry(self, edit: StripEdit, request: EditRequest | None = None) -> None:
        """Put an edit that failed, was cancelled or interrupted back in line, at its end.

        Frames that were read before the interruption are used; otherwise the strip is read as it
        is now. Phases that the engine has finished are found again in its cache.

        request: the request to use from now on, with other values but the same paths.

        Raises:
            TokenFlowError: the strip, the project or the engine will not do; the edit stays.
        """
        if not edit.stage.can_be_retried:
            return
        command = engine_command()
        request = self._with_unused_output(request or edit.request)
        if edit.reading.finished and (edit.work / "frames").is_dir():
            edit.request = request.validated()
            edit.reading = FramesAtHand(edit.frames.count, True)
        else:
            self._read_again(edit, request)
        self.engine.use(command, busy=bool(self.unfinished))
        edit.stage, edit.job, edit.progress = Stage.WAITING, None, None
        edit.cancel_requested, edit.error = False, None
        self.edits = [*(other for other in self.edits if other is not edit), edit]
        self._keep_records()

    def place(self, edit: StripEdit) -> None:
        """Put a result that has no place into the open project, above its source or without it.

        Raises:
            TokenFlowError: no channel is free, or the frames are gone.
        """
        if edit.result is None or edit.stage not in (Stage.UNPLACED, Stage.DONE):
            return
        place_anywhere(edit)
        edit.stage, edit.error = Stage.DONE, None
        self._keep_records()

    def cancel(self, edit: StripEdit) -> None:
        """Ask to end an edit; returns at once."""
        if edit.stage.finished:
            return
        edit.cancel_requested = True
        if edit.job is None or edit.stage is Stage.PLACING:
            self._progress.finish(edit, Stage.CANCELLED)
        else:
            self.engine.cancel(edit.job)

    def stop_engine(self) -> None:
        """End the engine at once, for an edit that does not heed its cancelling.

        The other edits that it had go to the next engine, which starts by itself.
        """
        for edit in self.unfinished:
            if edit.stage is Stage.ENGINE and edit.cancel_requested:
                self._progress.finish(edit, Stage.CANCELLED)
            elif edit.stage is Stage.ENGINE:
                edit.reading = FramesAtHand(edit.frames.count, True)
                edit.stage, edit.job = Stage.WAITING, None
        self.engine.stop()
        self._keep_records()

    def move(self, edit: StripEdit, places: int) -> None:
        """Let a waiting edit run earlier (negative) or later, past other waiting ones."""
        waiting = [other for other in self.edits if other.is_waiting]
        if edit not in waiting:
            return
        wanted = list(waiting)
        wanted.remove(edit)
        wanted.insert(max(0, waiting.index(edit) + places), edit)
        turns = iter(wanted)
        self.edits = [next(turns) if other.is_waiting else other for other in self.edits]
        self.engine.order([other.job for other in wanted if other.job is not None])
        self._keep_records()

    def dismiss(self, edit: StripEdit) -> None:
        """Forget a finished edit; its strip and frames stay."""
        if edit.stage.finished and edit in self.edits:
            self.edits.remove(edit)
            self._progress.clean_up(edit)
            self._keep_records()

    def poll(self, budget_seconds: float = 0.002) -> bool:
        """Take every edit as far as it gets without waiting.

        Returns whether anything that the panel shows has changed.
        """
        before = [edit.seen for edit in self.edits]
        self.engine.poll(budget_seconds)
        for edit in self.unfinished:
            self._progress.advance(edit)
        self._keep_records()
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
        found = source_of(edit)
        if edit.stage is Stage.CANCELLED or found is None:
            raise Cancelled()
        return found[0].sequence_editor.strips_all[edit.result_name]

    def recover(self) -> None:
        """Show what earlier Blenders left: interrupted edits, and results that were not placed."""
        for left in self._store.left_edits():
            edit = edit_from(left.values, left.folder)
            if edit is None or self.find(edit.id) is not None:
                self._store.drop(left.folder)
            else:
                self.edits.append(edit)
        self._keep_records()

    def settle(self, edits: list[StripEdit]) -> None:
        """Results that lie in a project that was saved need no record any more."""
        for edit in edits:
            if edit.stage is Stage.DONE:
                edit.is_kept = False
        self._keep_records()

    def close(self) -> None:
        """End the engine. Unfinished edits are kept for the next Blender, all others end here."""
        for edit in self.unfinished:
            self._progress.finish(edit, Stage.INTERRUPTED if edit.is_kept else Stage.CANCELLED)
        self._keep_records()
        self.engine.close()
        self._store.close()

    def _taken(self) -> set[Path]:
        return {Path(edit.request.output) for edit in self.unfinished}

    def _with_unused_output(self, request: EditRequest) -> EditRequest:
        """The request with another folder where a later edit has taken the one it had."""
        output = Path(request.output)
        if output.name.rpartition("_")[2].isdecimal():
            output = unused_folder(output, self._taken())
        return replace(request, output=str(output))

    def _read_again(self, edit: StripEdit, request: EditRequest) -> None:
        found = source_of(edit)
        if found is None:
            name = Path(edit.blend).name or "its project"
            raise TokenFlowError(
                "bad_request",
                f'The strip "{edit.strip_name}" is not in the project that is open.',
                f"Open {name}, then try again.",
            )
        scene, strip = found
        check(strip)
        store = self._store if edit.is_kept else None
        begun = begin_reading(scene, strip, request, store, output=Path(request.output))
        self._progress.clean_up(edit)
        strip.tokenflow.uid = edit.uid
        edit.frames, edit.request = begun.frames, begun.request
        edit.work, edit.reading = begun.work, begun.reading
        edit.scene_uid, edit.scene_name = scene.session_uid, scene.name

    def _keep_records(self) -> None:
        """Bring the records up to date with what has changed since they were written."""
        wanted: dict[Path, tuple[object, ...]] = {}
        for number, edit in enumerate(self.edits):
            if edit.is_kept and edit.stage is not Stage.CANCELLED:
                # How far its job is, is the engine's to know.
                now = (number, edit.stage, edit.blend, edit.error, edit.request)
                wanted[edit.work] = (*now, edit.reading.finished)
                if self._kept.get(edit.work) != wanted[edit.work]:
                    self._store.keep(edit.work, record_of(edit, number))
        for folder in self._kept.keys() - wanted.keys():
            self._store.drop(folder)
        self._kept = wanted
