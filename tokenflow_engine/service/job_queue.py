"""The edits that were asked for, run one after the other by one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..client.edit_request import EditRequest
from ..client.errors import TokenFlowError
from ..client.jobs import JobState
from ..client.progress import EditResult, Progress
from .failures import failure_from
from .runner import RunEdit

log = logging.getLogger(__name__)

_MAX_QUEUED = 100
_MAX_FINISHED = 100

Announce = Callable[[str, str, dict[str, Any]], None]
"""Called with a job's id, a notification's method and its parameters, from any thread."""


@dataclass(eq=False)
class QueuedJob:
    """A job as the engine sees it; guarded by the queue's lock."""

    id: str
    request: EditRequest
    state: JobState = JobState.QUEUED
    progress: Progress | None = None
    result: EditResult | None = None
    error: TokenFlowError | None = None
    cancel: threading.Event = field(default_factory=threading.Event)

    def description(self) -> dict[str, Any]:
        return {
            "job": self.id,
            "state": self.state.value,
            "cancel_requested": self.cancel.is_set(),
            "progress": self.progress and self.progress.to_json(),
            "result": self.result and self.result.to_json(),
            "error": self.error and self.error.to_json(),
        }


class JobQueue:
    """Owns the worker thread. Every method returns at once, except `stop`."""

    def __init__(
        self,
        run_edit: RunEdit,
        announce: Announce,
        release_models: Callable[[], None],
        idle_seconds: float,
    ) -> None:
        self._run_edit = run_edit
        self._announce = announce
        self._release_models = release_models
        self._idle_seconds = idle_seconds
        self._jobs: dict[str, QueuedJob] = {}
        self._waiting: deque[QueuedJob] = deque()
        self._running: QueuedJob | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="edits", daemon=True)

    def start(self) -> None:
        self._worker.start()

    @property
    def is_idle(self) -> bool:
        with self._changed:
            return self._running is None and not self._waiting

    def submit(self, job_id: str, request: EditRequest) -> int:
        """Append a job; return how many are before it.

        Raises:
            TokenFlowError: code "bad_request", if the id is taken or the queue is full.
        """
        with self._changed:
            if job_id in self._jobs:
                raise TokenFlowError("bad_request", "A job with this id exists already.")
            if len(self._waiting) >= _MAX_QUEUED:
                raise TokenFlowError(
                    "bad_request",
                    f"{_MAX_QUEUED} edits are waiting already.",
                    "Wait until some are finished or cancel some.",
                )
            position = len(self._waiting) + (self._running is not None)
            job = QueuedJob(job_id, request)
            self._jobs[job_id] = job
            self._waiting.append(job)
            self._changed.notify()
            return position

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Ask a job to end; one that waits is cancelled at once. Return its description."""
        with self._changed:
            job = self._known(job_id)
            if not job.state.finished:
                job.cancel.set()
            if job in self._waiting:
                self._waiting.remove(job)
                self._finish(job, JobState.CANCELLED)
            return job.description()

    def order(self, job_ids: Sequence[str]) -> list[str]:
        """Let waiting jobs run in this order; return the ids of all that wait, the next one first.

        Jobs that are not named keep their turns; ids of jobs that do not wait are passed over.
        """
        with self._changed:
            waiting = {job.id: job for job in self._waiting}
            named = [waiting[job_id] for job_id in dict.fromkeys(job_ids) if job_id in waiting]
            turns = iter(named)
            self._waiting = deque(next(turns) if job in named else job for job in self._waiting)
            return [job.id for job in self._waiting]

    def describe(self, job_id: str) -> dict[str, Any]:
        with self._changed:
            return self._known(job_id).description()

    def describe_all(self) -> list[dict[str, Any]]:
        """Every job's id and state, oldest first."""
        with self._changed:
            return [{"job": job.id, "state": job.state.value} for job in self._jobs.values()]

    def stop(self, seconds: float) -> bool:
        """Cancel everything and wait for the worker; False if it is still busy after that."""
        with self._changed:
            self._stopping = True
            for job in list(self._waiting):
                self._waiting.remove(job)
                self._finish(job, JobState.CANCELLED)
            if self._running is not None:
                self._running.cancel.set()
            self._changed.notify()
        if self._worker.is_alive():
            self._worker.join(seconds)
        return not self._worker.is_alive()

    def _known(self, job_id: str) -> QueuedJob:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise TokenFlowError("bad_request", "The engine does not know this job.") from None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._run(job)

    def _next(self) -> QueuedJob | None:
        """The next job, None when the queue stops; models are released while nothing comes."""
        idle_since = time.monotonic()
        released = False
        while True:
            with self._changed:
                timeout = max(0.0, idle_since + self._idle_seconds - time.monotonic())
                self._changed.wait_for(
                    lambda: self._waiting or self._stopping, None if released else timeout
                )
                if self._stopping:
                    return None
                if self._waiting:
                    job = self._running = self._waiting.popleft()
                    job.state = JobState.RUNNING
                    self._announce(job.id, "job.state", {"job": job.id, "state": job.state.value})
                    return job
            released = True
            try:
                self._release_models()
            except Exception:
                log.exception("models could not be released")

    def _run(self, job: QueuedJob) -> None:
        def progress(report: Progress) -> None:
            with self._changed:
                job.progress = report
            self._announce(job.id, "job.progress", {"job": job.id, **report.to_json()})

        log.info("job %s begins", job.id)
        result, error = None, None
        try:
            result = self._run_edit(job.request, progress=progress, cancelled=job.cancel.is_set)
        except BaseException as raised:  # whatever it was, the next job must still be served
            error = failure_from(raised)
            if error.code != "cancelled":
                log.exception("job %s failed", job.id)
        with self._changed:
            self._running = None
            job.result, job.error = result, error
            if error is None:
                self._finish(job, JobState.DONE)
            elif error.code == "cancelled":
                self._finish(job, JobState.CANCELLED)
            else:
                self._finish(job, JobState.FAILED)

    def _finish(self, job: QueuedJob, state: JobState) -> None:
        job.state = state
        log.info("job %s is %s", job.id, state.value)
        if state is JobState.DONE and job.result is not None:
            self._announce(job.id, "job.done", {"job": job.id, "result": job.result.to_json()})
        elif state is JobState.FAILED and job.error is not None:
            self._announce(job.id, "job.failed", {"job": job.id, **job.error.to_json()})
        else:
            self._announce(job.id, "job.state", {"job": job.id, "state": state.value})
        finished = [known for known in self._jobs.values() if known.state.finished]
        for old in finished[:-_MAX_FINISHED]:
            del self._jobs[old.id]
