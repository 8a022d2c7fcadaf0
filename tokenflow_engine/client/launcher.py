"""Starts the engine as a child process that cannot outlive this one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .child_processes import creation_flags, let_go, python_environment
from .errors import TokenFlowError

_LOGS_KEPT = 5
_TAIL_BYTES = 8000
_SECONDS_TO_LEAVE = 20.0


@dataclass(frozen=True)
class EngineCommand:
    """How to start an engine.

    python: the interpreter of the engine's environment.
    package_root: the folder that contains `tokenflow_engine`.
    options: further arguments of `serve`.
    variables: further environment variables, by name.
    """

    python: Path
    package_root: Path
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    def arguments(self, runtime: Path, owner_pid: int) -> list[str]:
        return [
            # Not resolved: a virtual environment's interpreter is a link that must stay one.
            str(self.python.absolute()),
            "-m",
            "tokenflow_engine",
            "serve",
            "--runtime",
            str(runtime),
            "--owner-pid",
            str(owner_pid),
            *self.options,
        ]

    def environment(self) -> dict[str, str]:
        return python_environment(self.package_root) | dict(self.variables)


class EngineProcess:
    """A started engine; it ends when `close` is called or this process ends."""

    def __init__(self, process: subprocess.Popen[bytes], log: BinaryIO) -> None:
        """log: what the process writes to, open for reading; closed with this object."""
        self._process = process
        self._log = log

    def ending(self) -> str | None:
        """How the process ended, in words that follow "The engine"; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"was killed ({name})"

    def log_tail(self) -> str:
        """The last lines of what the engine printed, empty if nothing can be read."""
        try:
            # By handle, not by name: another Blender may have rotated the logs since.
            self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return self._log.read().decode("utf-8", "replace")
        except (OSError, ValueError):
            return ""

    def close(self) -> None:
        """Let the engine go without waiting for it; one that hangs is killed after a while."""
        self._log.close()
        # The engine ends at the end of its input, its only sign that the owner is gone.
        let_go(self._process, _SECONDS_TO_LEAVE)

    def kill(self) -> None:
        """End an engine that cannot be talked to any more; `close` is still to be called."""
        with contextlib.suppress(OSError):
            self._process.kill()


def launch(command: EngineCommand, runtime: Path, log: Path) -> EngineProcess:
    """Start the engine; its output goes to `log`, earlier logs are kept beside it.

    Raises:
        TokenFlowError: code "engine_missing", if the interpreter is not there or does not start;
            "internal", if the log cannot be written.
    """
    if not command.python.is_file():
        raise _missing(f"no interpreter at {command.python}")
    try:
        rotate_logs(log)
        # A handle each: the child's position must not move when the tail is read.
        output, reader = log.open("ab"), log.open("rb")
    except OSError as error:
        raise TokenFlowError(
            "internal",
            f"The engine's log cannot be written: {log}.",
            "Free some space, or check who may write to its folder.",
            str(error),
        ) from error
    try:
        process = subprocess.Popen(
            command.arguments(runtime, os.getpid()),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=runtime,
            env=command.environment(),
            # A key pressed in Blender's terminal must not reach the engine.
            start_new_session=True,
            creationflags=creation_flags(),
        )
    except (OSError, ValueError) as error:
        reader.close()
        raise _missing(str(error)) from error
    finally:
        output.close()
    return EngineProcess(process, reader)


def rotate_logs(log: Path) -> None:
    """Make room for a new log: engine.log becomes engine.1.log and so on; the oldest goes.

    Raises:
        OSError: the log's folder cannot be made.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    names = [log, *(log.with_stem(f"{log.stem}.{n}") for n in range(1, _LOGS_KEPT))]
    for newer, older in zip(reversed(names[:-1]), reversed(names[1:]), strict=True):
        # An engine that is still ending may hold its log open, which Windows does not let move.
        with contextlib.suppress(OSError):
            newer.replace(older)


def _missing(details: str) -> TokenFlowError:
    return TokenFlowError(
        "engine_missing",
        "The TokenFlow engine is not installed, or its Python does not start.",
        "Install the engine in the add-on's preferences.",
        details,
    )
