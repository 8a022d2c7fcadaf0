"""How children are started, left to end by themselves, and made to delete files: without threads.

Within Blender there must be no second Python thread. Blender's own functions let go of the
interpreter's lock while they run and still touch Python objects (`BPY_context_member_get` reads a
dict without it), so that a thread that runs meanwhile crashes Blender now and then (4.5 and 5.0).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from . import remove_files

_leaving: list[tuple[subprocess.Popen[bytes], float]] = []


def python_environment(package_root: Path | None = None) -> dict[str, str]:
    """This process's environment without what steers its own Python (Blender sets some).

    package_root: folder to import from, beside what the Python started has itself.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("PYTHON") and name != "__PYVENV_LAUNCHER__"
    }
    path = {} if package_root is None else {"PYTHONPATH": str(package_root.absolute())}
    return kept | path | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


def creation_flags() -> int:
    """For a child that has no window of its own and gets no key pressed in this one's."""
    if sys.platform == "win32":
        return subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return 0


def let_go(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Close a child's standard input, at which it should end, and return at once.

    seconds: after which `reap` kills it.
    """
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    _leaving.append((process, time.monotonic() + seconds))
    reap()


def reap() -> bool:
    """Take note of children that have ended and kill those past their time; whether any is left.

    Never waits; to be called now and then while it returns True.
    """
    now = time.monotonic()
    for process, deadline in _leaving:
        if process.poll() is None and now > deadline:
            with contextlib.suppress(OSError):
                process.kill()
    _leaving[:] = [(process, deadline) for process, deadline in _leaving if process.poll() is None]
    return bool(_leaving)


def remove_soon(
    paths: Iterable[Path], folders_if_empty: Iterable[Path] = ()
) -> subprocess.Popen[bytes] | None:
    """Delete files and folders with all that is in them, in a child that outlives this process.

    Hundreds of files on a slow disk take longer than a window may stand still. What cannot be
    deleted stays.

    folders_if_empty: looked at when all others are gone.
    Returns the child; None if there was nothing to do, or if no child can be had: then the files
    are deleted before this returns.
    """
    doomed, folders = list(paths), list(folders_if_empty)
    if not doomed and not folders:
        return None
    try:
        with tempfile.TemporaryFile() as listed:
            # A pipe would make this process wait for the child if the list is long.
            listed.write(json.dumps([doomed, folders], default=str).encode())
            listed.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", remove_files.__file__],
                stdin=listed,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),
                env=python_environment(),
                start_new_session=True,
                creationflags=creation_flags(),
            )
    except OSError:
        remove_files.remove(doomed, folders)
        return None
    let_go(process, float("inf"))
    return process
