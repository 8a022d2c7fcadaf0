"""Starts the program that installs the engine, and says in words how far it is."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from ..requirements import environments
from ..tokenflow_engine.client.child_processes import remove_soon
from ..tokenflow_engine.client.spoken import spoken_bytes
from .task import Task, TaskProgress

LARGER_THAN_TOLD = "larger_than_told"
"""Code of the error with which it stops before a download that nobody agreed to."""

PROGRAM = Path(environments.__file__).with_name("install_engine.py")

_STAGES = {
    "": "Starting",
    "python": "Making the environment",
    "resolve": "Asking the package index",
    "fetch": "Downloading",
    "pip": "Downloading and installing with pip",
    "unpack": "Unpacking",
    "try": "Trying it out",
}


def start_install(folder: Path, build: str, index: str, at_most: int) -> Task:
    """Begin, or go on with, installing into `folder`; see `requirements/install_engine.py`.

    index: a further package index, empty for none. at_most: bytes that the user agreed to fetch.
    """
    command = [sys.executable, "-s", "-B", str(PROGRAM), str(folder), "--build", build]
    command += ["--at-most", str(at_most)]
    return Task([*command, *(["--index", index] if index else [])])


def spoken_progress(progress: TaskProgress) -> str:
    """For example "Downloading, 120 MB of 392 MB"."""
    words = _STAGES.get(progress.stage, progress.stage.capitalize())
    if not progress.total:
        return f"{words}..."
    return f"{words}, {spoken_bytes(progress.done)} of {spoken_bytes(progress.total)}"


def remove_engines(folder: Path) -> subprocess.Popen[bytes] | None:
    """Take away every installed engine and what an interrupted installation left.

    They count as removed at once; the files go in the child that is returned.
    """
    doomed = list(folder.glob("engine-*"))
    for path in doomed:
        # Without its stamp it counts for nothing, even if the rest is only half gone.
        with contextlib.suppress(OSError):
            (path / environments.STAMP).unlink()
    return remove_soon([*doomed, folder / environments.WHEELS])
