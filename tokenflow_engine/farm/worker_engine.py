"""A worker's engine: started when a worker takes up a job, stopped when it leaves it.

The model is loaded with the first edit and stays for all the worker's tasks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ..client.endpoint import Endpoint, private_folder
from ..client.errors import TokenFlowError
from ..client.launcher import EngineCommand
from ..client.processes import process_runs
from ..client.step_engine import OWNER_VARIABLE, RUNTIME_VARIABLE

SHARED_VARIABLE = "TOKENFLOW_ENGINE_SHARED"
"""Environment variable: the engine in RUNTIME_VARIABLE serves several sessions of this worker."""

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_SECONDS_TO_START = 180.0
_SECONDS_TO_STOP = 20.0
_SECONDS_BETWEEN_LOOKS = 0.05


def start(runtime: Path, exit_idle_seconds: float) -> Path:
    """Have an engine run in `runtime`, or in the worker's own folder; return the folder.

    It goes on when this process ends, until `stop`, until its owner is gone, or until nobody has
    wanted anything for `exit_idle_seconds`.

    Raises:
        TokenFlowError: code "engine_lost", if it does not start.
    """
    folder = private_folder(Path(os.environ.get(RUNTIME_VARIABLE) or runtime))
    if _alive(folder) is not None:
        return folder
    command = EngineCommand(Path(sys.executable), PACKAGE_ROOT)
    owner = int(os.environ.get(OWNER_VARIABLE) or 0)
    arguments = command.arguments(folder, owner) if owner else command.arguments(folder, 1)[:-2]
    arguments += ["--exit-idle-seconds", str(exit_idle_seconds)]
    with (folder / "engine.log").open("ab") as log:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=command.environment(),
            start_new_session=True,
        )
    deadline = time.monotonic() + _SECONDS_TO_START
    while _alive(folder) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            tail = (folder / "engine.log").read_text("utf-8", "replace")[-4000:]
            raise TokenFlowError(
                "engine_lost",
                "The engine did not start on this worker.",
                f'See "{folder / "engine.log"}", and run `tokenflow doctor` with {sys.executable}.',
                tail,
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return folder


def stop(runtime: Path) -> bool:
    """End the engine in `runtime`, cancelling what it does; False where there was none to end.

    One that serves other sessions of this worker as well is left alone: it ends by itself.
    """
    if os.environ.get(SHARED_VARIABLE):
        return False
    endpoint = _alive(Path(os.environ.get(RUNTIME_VARIABLE) or runtime))
    if endpoint is None:
        return False
    with contextlib.suppress(OSError):
        os.kill(endpoint.pid, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_STOP
    while process_runs(endpoint.pid):
        if time.monotonic() > deadline:
            with contextlib.suppress(OSError):
                os.kill(endpoint.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True


def _alive(folder: Path) -> Endpoint | None:
    """The engine that the endpoint file names, if its process is there."""
    endpoint = Endpoint.read(folder)
    return endpoint if endpoint is not None and process_runs(endpoint.pid) else None
