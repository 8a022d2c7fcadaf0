"""One edit of one strip, as the queue advances it and the panel shows it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.jobs import Job, JobState
from ..tokenflow_engine.client.progress import EditResult, Progress
from .stage import Stage
from .strip_alone import StripFrames
from .strip_frames import Reading


@dataclass(eq=False)
class StripEdit:
    """One edit of one strip; holds names and marks, never pointers that undo would break.

    uid: the source strip's mark.
    scene_uid: session-wide id of the scene, the same after renaming and undo; 0 when it was begun
        by an earlier Blender.
    scene_name, strip_name, blend: where the strip was when last seen; blend is the project's file,
        empty until it is saved.
    work: folder with the strip's frames, in `frames`.
    is_kept: the edit outlives this Blender.
    new_place: folder that the results of this project go to, if this edit is the first in it.
    kind: what becomes of the frames, a key of `delivery.DELIVERIES`.
    id: names the edit among all edits ever made.
    error: why it failed, once the stage is FAILED or UNPLACED.
    result_name, result_uid, channel: the result strip, once the stage is DONE.
    """

    uid: str
    scene_uid: int
    scene_name: str
    strip_name: str
    blend: str
    frames: StripFrames
    request: EditRequest
    work: Path
    new_place: Path | None
    reading: Reading
    kind: str = "edit"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    stage: Stage = Stage.WAITING
    job: Job | None = None
    progress: Progress | None = None
    cancel_requested: bool = False
    error: TokenFlowError | None = None
    result: EditResult | None = None
    result_name: str = ""
    result_uid: str = ""
    is_kept: bool = False
    channel: int = 0
    submissions: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether it is behind others, so that its turn can be changed."""
        queued = self.job is not None and self.job.state in (JobState.WAITING, JobState.QUEUED)
        return self.stage in (Stage.WAITING, Stage.READING) or (
            self.stage is Stage.ENGINE and queued
        )

    @property
    def is_queued(self) -> bool:
        """Whether the engine has it, behind others."""
        return self.job is not None and self.job.state is JobState.QUEUED

    @property
    def can_go_on(self) -> bool:
        """Whether the frames that were read serve a retry, also after a restart of Blender."""
        ended = self.stage in (Stage.FAILED, Stage.INTERRUPTED)
        return ended and self.is_kept and self.reading.finished

    @property
    def seen(self) -> tuple[object, ...]:
        """What the panel shows of it; compared to tell whether to draw again."""
        state = None if self.job is None else self.job.state
        return (self.id, self.stage, state, self.progress, self.cancel_requested, self.error)
