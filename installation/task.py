"""A program that runs beside Blender and tells, line by line, how far it is."""

from __future__ import annotations

import contextlib
import enum
import json
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.launcher import creation_flags, python_environment

_REMARKS_KEPT = 40
_SECONDS_TO_LEAVE = 5.0


class TaskState(enum.Enum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class TaskProgress:
    """stage: a word of the program's own. done of total: bytes or things, total 0 if unknown."""

    stage: str = ""
    done: int = 0
    total: int = 0

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class Task:
    """Never blocks; call `poll` from a timer, or in a loop elsewhere.

    The program prints JSON objects, one a line: {"progress": {stage, done, total}}, at the end
    {"done": {...}} or {"error": {code, message, remedy, details}}; other keys are kept in `facts`
    and lines that are no JSON as remarks for the report. It must end, with all that it started,
    when its standard input ends: so it cannot outlive Blender.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """environment: variables of the program; without those of Blender's Python if None."""
        self.state = TaskState.RUNNING
        self.progress = TaskProgress()
        self.facts: dict[str, Any] = {}
        self.result: dict[str, Any] = {}
        self.error: TokenFlowError | None = None
        self._remarks: deque[str] = deque(maxlen=_REMARKS_KEPT)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=python_environment() if environment is None else environment,
                start_new_session=True,
                creationflags=creation_flags(),
            )
        except OSError as error:
            self._fail(
                "engine_missing",
                f"{command[0]} does not start.",
                "Install the engine again in the add-on's preferences.",
                str(error),
            )
        else:
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    @property
    def running(self) -> bool:
        return self.state is TaskState.RUNNING

    @property
    def remarks(self) -> str:
        """The last lines that were no messages."""
        return "\n".join(self._remarks)

    def poll(self) -> bool:
        """Take in what the program has said since; whether there was anything."""
        if not self.running:
            return False
        changed = False
        with contextlib.suppress(queue.Empty):
            while self.running:
                line = self._lines.get_nowait()
                changed = True
                if line is None:
                    self._ended()
                else:
                    self._take(line)
        return changed

    def cancel(self) -> None:
        """End the program and all that it started; returns at once."""
        if self.running:
            self.state = TaskState.CANCELLED
        self.close()

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            threading.Thread(target=_reap, args=(self._process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                self._lines.put(line)
        process.wait()
        self._lines.put(None)

    def _take(self, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._remarks.append(line.rstrip())
            return
        if isinstance(found := message.pop("progress", None), dict):
            self.progress = TaskProgress(
                str(found.get("stage", "")), int(found.get("done", 0)), int(found.get("total", 0))
            )
        if isinstance(found := message.pop("error", None), dict):
            self.error = TokenFlowError.from_json(found)
        if isinstance(found := message.pop("done", None), dict):
            self.result = found
            # Nothing is left to wait for but the end of the process.
            self.state = TaskState.DONE
            self.close()
        self.facts |= message

    def _ended(self) -> None:
        if self.error is not None:
            self.state = TaskState.FAILED
        elif self._process is not None:
            self._fail(
                "internal",
                f"The program ended without a word (exit code {self._process.returncode}).",
                "Try again; if it ends again, copy the report and send it to the developers.",
                self.remarks,
            )
        self.close()

    def _fail(self, code: str, message: str, remedy: str, details: str) -> None:
        self.error = TokenFlowError(code, message, remedy, details)
        self.state = TaskState.FAILED


def _reap(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(_SECONDS_TO_LEAVE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
