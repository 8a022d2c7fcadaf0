"""What the add-on and scripts hold on to: an engine on demand and the jobs given to it."""

from __future__ import annotations

import enum
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .edit_request import EditRequest
from .engine_link import EngineLink
from .errors import TokenFlowError
from .handshake import error_from
from .jobs import Job, JobState
from .launcher import EngineCommand
from .progress import EditResult, Progress
from .protocol import Message, ProtocolError


class EngineState(enum.Enum):
    """The engine as seen from here."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    LOST = "lost"
    """It was there and is gone, or could not be started; the next job starts a new one."""


class EngineSession:
    """Never blocks. Starts the engine when first needed, connects, submits, follows jobs.

    Call `poll` again and again, from a timer in Blender or from a loop elsewhere:

        job = session.submit(request)
        while not job.state.finished:
            session.poll()
            time.sleep(0.02)

    Not thread-safe: use it from one thread.
    """

    def __init__(self, command: EngineCommand, runtime: Path, log: Path | None = None) -> None:
        """
        command: how to start the engine.
        runtime: private folder for the socket and the token; one for each Blender.
        log: file for what the engine prints; `engine.log` in the runtime folder if None.
        """
        self.jobs: dict[str, Job] = {}
        self._command = command
        self._runtime = Path(runtime)
        self._log = log
        self._state = EngineState.STOPPED
        self._link: EngineLink | None = None
        self._submissions: dict[int, Job] = {}
        self._changed: dict[str, Job] = {}

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def engine_pid(self) -> int | None:
        """Process id of the engine, None while there is none."""
        return None if self._link is None else self._link.engine_pid

    def submit(self, request: EditRequest) -> Job:
        """Hand over an edit; returns at once.

        Raises:
            TokenFlowError: code "bad_request", if the request's values are out of bounds. A
                missing engine is no reason to raise: the job then fails.
        """
        job = Job(uuid.uuid4().hex, request.validated().resolved())
        self.jobs[job.id] = job
        self._changed[job.id] = job
        try:
            if self._link is None:
                self._link = EngineLink(self._command, self._runtime, self._log)
                self._state = EngineState.STARTING
            if self._state is EngineState.READY:
                self._send(self._link, job)
        except TokenFlowError as error:
            self._lose(error)
        return job

    def cancel(self, job: Job) -> None:
        """Ask to end a job; returns at once. A job that has not begun is cancelled here and now."""
        if job.state.finished or job.cancel_requested:
            return
        job.cancel_requested = True
        self._changed[job.id] = job
        sent = job.state is not JobState.WAITING
        if job.state is not JobState.RUNNING:
            job.state = JobState.CANCELLED
        if sent and self._link is not None:
            try:
                self._link.send("job.cancel", {"job": job.id})
            except TokenFlowError as error:
                self._lose(error)

    def order(self, jobs: Sequence[Job]) -> None:
        """Let jobs that wait run in this order; those that run or have ended stay as they are."""
        names = [job.id for job in jobs if job.state in (JobState.WAITING, JobState.QUEUED)]
        # Those not yet sent go out in the order they are held.
        for name in names:
            self.jobs[name] = self.jobs.pop(name)
        if self._link is not None and self._state is EngineState.READY:
            try:
                self._link.send("job.order", {"jobs": names})
            except TokenFlowError as error:
                self._lose(error)

    def poll(self, budget_seconds: float = 0.002) -> list[Job]:
        """Do what can be done now, for at most about `budget_seconds`.

        Returns the jobs that changed since the last poll, in the order they changed first.
        """
        if self._link is not None:
            try:
                self._pump(self._link, time.monotonic() + budget_seconds)
            except TokenFlowError as error:
                self._lose(error)
        changed, self._changed = self._changed, {}
        return list(changed.values())

    def close(self) -> None:
        """Cancel what is unfinished and let the engine go; a later job starts a new one."""
        for job in self.jobs.values():
            if not job.state.finished:
                job.cancel_requested = True
                self._finish(job, JobState.CANCELLED)
        self._submissions.clear()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._state = EngineState.STOPPED

    def _pump(self, link: EngineLink, deadline: float) -> None:
        if not link.ready:
            link.advance()
            if not link.ready:
                return
            self._state = EngineState.READY
            for job in self.jobs.values():
                if job.state is JobState.WAITING:
                    self._send(link, job)
        for message in link.receive():
            try:
                self._take(message)
            except (ProtocolError, KeyError, TypeError, ValueError) as error:
                raise TokenFlowError(
                    "engine_lost",
                    "The engine sent something that the add-on does not understand.",
                    "Install the engine again, so that both have the same version.",
                    repr(error),
                ) from error
            if time.monotonic() > deadline:
                return

    def _send(self, link: EngineLink, job: Job) -> None:
        try:
            request_id = link.send("job.submit", {"job": job.id, "request": job.request.to_json()})
        except ProtocolError as error:
            job.error = TokenFlowError(
                "bad_request", "The request is too long.", "Shorten the prompts.", str(error)
            )
            self._finish(job, JobState.FAILED)
        else:
            self._submissions[request_id] = job
            job.state = JobState.QUEUED
            self._changed[job.id] = job

    def _take(self, message: Message) -> None:
        if "method" not in message:
            submitted = self._submissions.pop(message["id"], None)
            if submitted is not None and "error" in message and not submitted.state.finished:
                submitted.error = error_from(message)
                self._finish(submitted, JobState.FAILED)
            return
        params: dict[str, Any] = message["params"]
        job = self.jobs.get(params["job"]) if "job" in params else None
        # What arrives for a job that was cancelled here is old news.
        if job is None or job.state.finished:
            return
        match message["method"]:
            case "job.state":
                state = JobState(params["state"])
                if state is JobState.CANCELLED:
                    self._finish(job, state)
                elif not state.finished:
                    job.state = state
            case "job.progress":
                job.state = JobState.RUNNING
                job.progress = Progress.from_json(params)
            case "job.done":
                job.result = EditResult.from_json(params["result"])
                self._finish(job, JobState.DONE)
            case "job.failed":
                job.error = TokenFlowError.from_json(params)
                self._finish(job, JobState.FAILED)
            case _:
                return
        self._changed[job.id] = job

    def _finish(self, job: Job, state: JobState) -> None:
        job.state = state
        self._changed[job.id] = job

    def _lose(self, error: TokenFlowError) -> None:
        """Drop the engine; every job that it had, or was to have, ends with it."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._state = EngineState.LOST
        self._submissions.clear()
        for job in self.jobs.values():
            if job.state.finished:
                continue
            if job.cancel_requested:
                self._finish(job, JobState.CANCELLED)
            else:
                job.lost_in_queue = job.state is JobState.QUEUED
                job.error = error
                self._finish(job, JobState.FAILED)
