"""An edit as the side that asked for it sees it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .edit_request import EditRequest
from .errors import TokenFlowError
from .progress import EditResult, Progress


class JobState(enum.Enum):
    """Where a job is; it only moves downwards in this list."""

    WAITING = "waiting"
    """Not yet sent: the engine is starting."""
    QUEUED = "queued"
    """Known to the engine, behind other jobs."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(eq=False)
class Job:
    """One submitted edit; `EngineSession.poll` keeps it up to date.

    id: unique among all clients of an engine.
    progress: the latest report, None before the first.
    result: set once the state is DONE.
    error: set once the state is FAILED.
    lost_in_queue: the engine ended before this job's turn; another engine may well make it.
    cancel_requested: the user asked to cancel; the state follows when the engine has stopped.
    """

    id: str
    request: EditRequest
    state: JobState = JobState.WAITING
    progress: Progress | None = None
    result: EditResult | None = None
    error: TokenFlowError | None = None
    lost_in_queue: bool = False
    cancel_requested: bool = False
