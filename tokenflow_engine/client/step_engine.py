"""An engine that a step of a job waits for: the worker's, if one runs there, else its own."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from .edit_request import EditRequest
from .errors import Cancelled, TokenFlowError
from .jobs import JobState
from .launcher import EngineCommand
from .processes import process_runs
from .progress import EditResult, ProgressCallback
from .session import EngineSession

RUNTIME_VARIABLE = "TOKENFLOW_ENGINE_RUNTIME"
"""Environment variable: the folder of the engine that a job's environment has started."""

OWNER_VARIABLE = "TOKENFLOW_OWNER_PID"
"""Environment variable: process that a step must not outlive (a farm's worker)."""

_SECONDS_BETWEEN_POLLS = 0.02
_SECONDS_BETWEEN_LOOKS = 1.0


class StepEngine:
    """Runs requests one after the other and waits for each; use it in a `with` block.

    The engine starts, or is attached to, with the first request.
    """

    def __init__(self, command: EngineCommand, log: Path | None = None) -> None:
        self._command = command
        self._log = log
        self._session: EngineSession | None = None
        self._own_runtime: tempfile.TemporaryDirectory[str] | None = None
        self._owner = int(os.environ.get(OWNER_VARIABLE) or 0)
        self._looked = 0.0

    def __enter__(self) -> StepEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            self._session.close()
        if self._own_runtime is not None:
            with contextlib.suppress(OSError):
                self._own_runtime.cleanup()

    def run(self, request: EditRequest, progress: ProgressCallback) -> EditResult:
        """Make one edit, or one part of it.

        Raises:
            TokenFlowError: as the engine says; `Cancelled` after a notice to end (SIGTERM or
                SIGINT), once the engine has stopped, and when this step's owner is gone.
        """
        session = self._running_session()
        job = session.submit(request)
        with _notices() as notices:
            seen = None
            while not job.state.finished:
                session.poll()
                if job.progress is not None and job.progress != seen:
                    seen = job.progress
                    progress(seen)
                if notices or self._owner_is_gone():
                    session.cancel(job)
                time.sleep(_SECONDS_BETWEEN_POLLS)
        if job.state is JobState.CANCELLED:
            raise Cancelled
        if job.result is None:
            raise job.error or TokenFlowError("internal", "The engine gave no reason.")
        return job.result

    def _running_session(self) -> EngineSession:
        if self._session is None:
            runtime = os.environ.get(RUNTIME_VARIABLE)
            if not runtime:
                self._own_runtime = tempfile.TemporaryDirectory(prefix="tokenflow_engine_")
                runtime = self._own_runtime.name
            self._session = EngineSession(self._command, Path(runtime), self._log)
        return self._session

    def _owner_is_gone(self) -> bool:
        if not self._owner or time.monotonic() < self._looked:
            return False
        self._looked = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        return not process_runs(self._owner)


@contextlib.contextmanager
def _notices() -> Iterator[list[int]]:
    """The signals to end that have come; a farm sends one before it kills."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    earlier = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in earlier.items():
            # None is a handler that was not set from Python, as some of Blender's are.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
