"""The engine that all edits of this Blender share, started when the first one needs it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import bpy

from ..installation.own_folders import log_folder
from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.jobs import Job
from ..tokenflow_engine.client.launcher import EngineCommand
from ..tokenflow_engine.client.session import EngineSession, EngineState


class EngineConnection:
    """An `EngineSession` that may not be there yet, or be exchanged for another. Never blocks."""

    def __init__(self) -> None:
        self._session: EngineSession | None = None
        self._command: EngineCommand | None = None

    @property
    def state(self) -> EngineState:
        return EngineState.STOPPED if self._session is None else self._session.state

    @property
    def pid(self) -> int | None:
        """Process id of the engine, None while there is none."""
        return None if self._session is None else self._session.engine_pid

    def use(self, command: EngineCommand, *, busy: bool) -> None:
        """Keep the engine that runs, unless the user chose another and it has no more to do."""
        if self._session is not None and (command == self._command or busy):
            return
        if self._session is not None:
            self._session.close()
        runtime = Path(bpy.app.tempdir) / "tokenflow_engine"
        self._session = EngineSession(command, runtime, log_folder() / "engine.log")
        self._command = command

    def submit(self, request: EditRequest) -> Job:
        """Hand over a job; `use` comes first."""
        assert self._session is not None
        return self._session.submit(request)

    def cancel(self, job: Job) -> None:
        if self._session is not None:
            self._session.cancel(job)

    def order(self, jobs: list[Job]) -> None:
        """Let these waiting jobs run in this order."""
        if self._session is not None:
            self._session.order(jobs)

    def forget(self, job: Job) -> None:
        """Follow a job no longer; one that is unfinished is cancelled."""
        if self._session is not None:
            self._session.cancel(job)
            self._session.jobs.pop(job.id, None)

    def poll(self, budget_seconds: float) -> None:
        if self._session is not None:
            self._session.poll(budget_seconds)

    def stop(self) -> None:
        """End the engine, also in the middle of a job; the next job starts a new one."""
        pid = self.pid
        if self._session is not None:
            self._session.close()
            self._session.jobs.clear()
        # It is its own process group's only member, and heeds nothing else while a call lasts.
        if pid is not None:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    def close(self) -> None:
        """Let the engine go; a later job starts a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None
