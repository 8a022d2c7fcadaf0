"""A program that runs beside Blender and tells, line by line, how far it is."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import subprocess
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..tokenflow_engine.client.child_processes import creation_flags, let_go, python_environment
from ..tokenflow_engine.client.errors import TokenFlowError

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
        self._process: subprocess.Popen[bytes] | None = None
        self._output: _Output | None = None
        try:
            self._output = _Output()
            with self._output.writable() as output:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
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
            self.close()

    @property
    def running(self) -> bool:
        return self.state is TaskState.RUNNING

    @property
    def remarks(self) -> str:
        """The last lines that were no messages."""
        return "\n".join(self._remarks)

    def poll(self) -> bool:
        """Take in what the program has said since; whether there was anything."""
        if not self.running or self._process is None or self._output is None:
            return False
        # Looked at first: what an ended program has written is all there.
        has_ended = self._process.poll() is not None
        lines = self._output.new_lines(whole=has_ended)
        for line in lines:
            if self.running:
                self._take(line)
        if self.running and has_ended:
            self._ended()
        return bool(lines) or has_ended

    def cancel(self) -> None:
        """End the program and all that it started; returns at once."""
        if self.running:
            self.state = TaskState.CANCELLED
        self.close()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            let_go(process, _SECONDS_TO_LEAVE)
        if self._output is not None:
            self._output.close()

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


class _Output:
    """What a program has written so far, read without waiting and without a thread.

    A file: a pipe cannot be read without waiting on Windows, and makes its writer wait when full.
    """

    def __init__(self) -> None:
        number, name = tempfile.mkstemp(prefix="tokenflow-", suffix=".log")
        os.close(number)
        self._path = Path(name)
        self._reader = self._path.open("rb")
        self._rest = b""

    def writable(self) -> BinaryIO:
        return self._path.open("ab")

    def new_lines(self, *, whole: bool) -> list[str]:
        """Lines that are complete; the last, whatever it ends in, if that is the `whole` output."""
        *lines, self._rest = (self._rest + self._reader.read()).split(b"\n")
        if whole and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode("utf-8", "replace") for line in lines]

    def close(self) -> None:
        self._reader.close()
        # Windows keeps it while the program still has it open; the system's own cleaning gets it.
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
