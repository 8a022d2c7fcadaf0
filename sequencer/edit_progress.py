"""An edit's way from one stage to the next."""

from __future__ import annotations

import traceback
from typing import Protocol

from ..tokenflow_engine.client.child_processes import remove_soon
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.jobs import JobState
from .delivery import DELIVERIES, sequencer_is_occupied
from .engine_connection import EngineConnection
from .stage import Stage
from .strip_edit import StripEdit
from .strip_frames import FramesAtHand

_READ_AHEAD = 2
"""Edits that are rendered before the engine can take them: enough that it never waits for frames,
without those of a whole queue on the disk."""
_MOST_SUBMISSIONS = 3


class _Queue(Protocol):
    edits: list[StripEdit]
    engine: EngineConnection


class EditProgress:
    """Moves the edits of a queue on; never waits, never raises."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue

    def advance(self, edit: StripEdit) -> None:
        """Take an edit as far as it gets now; what goes wrong ends this edit alone."""
        try:
            self._advance(edit)
        except TokenFlowError as error:
            self._fail(edit, error)
        except Exception as error:
            self._fail(edit, internal(error))

    def finish(self, edit: StripEdit, stage: Stage) -> None:
        """End an edit at a stage that is an end."""
        edit.stage = stage
        edit.reading.close()
        if edit.job is not None:
            self._queue.engine.forget(edit.job)
        if not edit.can_go_on:
            self.clean_up(edit)

    def clean_up(self, edit: StripEdit) -> None:
        """Delete the strip's frames; hundreds of files take longer than a tick may take."""
        edit.reading = FramesAtHand(edit.frames.count, finished=False)
        doomed = [edit.work / "frames"] if edit.is_kept else [edit.work]
        remove_soon(doomed, [] if edit.new_place is None else [edit.new_place])

    def _may_read(self) -> bool:
        stages = [edit.stage for edit in self._queue.edits]
        return Stage.READING not in stages and stages.count(Stage.ENGINE) <= _READ_AHEAD

    def _advance(self, edit: StripEdit) -> None:
        if edit.stage is Stage.WAITING and self._may_read():
            edit.stage = Stage.READING
        elif edit.stage is Stage.READING:
            edit.progress = edit.reading.advance()
            if edit.reading.finished:
                self._submit(edit)
        elif edit.stage is Stage.ENGINE and edit.job is not None:
            edit.progress = edit.job.progress
            self._follow(edit)
        elif edit.stage is Stage.PLACING and not sequencer_is_occupied():
            if edit.result is None:
                raise internal(RuntimeError("the engine gave no result"))
            DELIVERIES[edit.kind](edit)
            self.finish(edit, Stage.DONE)

    def _submit(self, edit: StripEdit) -> None:
        edit.job = self._queue.engine.submit(edit.request)
        edit.submissions += 1
        edit.progress = None
        edit.stage = Stage.ENGINE
        after = self._queue.edits[self._queue.edits.index(edit) + 1 :]
        behind = [other.job for other in after if other.is_waiting and other.job is not None]
        if behind:
            # It was moved before edits that the engine has had for longer.
            self._queue.engine.order([edit.job, *behind])

    def _follow(self, edit: StripEdit) -> None:
        job = edit.job
        assert job is not None
        if job.state is JobState.DONE:
            edit.result = job.result
            edit.stage = Stage.PLACING
        elif job.state is JobState.CANCELLED:
            self.finish(edit, Stage.CANCELLED)
        elif job.state is JobState.FAILED:
            error = job.error or internal(RuntimeError("the engine gave no reason"))
            # The engine died of another edit, before this one's turn: it deserves its own.
            if job.lost_in_queue and edit.submissions < _MOST_SUBMISSIONS:
                self._queue.engine.forget(job)
                self._submit(edit)
                return
            raise error

    def _fail(self, edit: StripEdit, error: TokenFlowError) -> None:
        edit.error = error
        self.finish(edit, Stage.FAILED if edit.result is None else Stage.UNPLACED)


def internal(error: Exception) -> TokenFlowError:
    """What nobody has foreseen, as an error that a user can report."""
    return TokenFlowError(
        "internal",
        f"Something unexpected happened: {error}",
        "Copy the report and send it to the developers.",
        "".join(traceback.format_exception(error)),
    )
