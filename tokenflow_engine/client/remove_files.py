"""Deletes files and folders; a program of its own, see `child_processes.remove_soon`.

Its standard input is a JSON list of two lists: what to delete, and folders to delete if they are
empty then.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path


def remove(paths: Iterable[Path], folders_if_empty: Iterable[Path]) -> None:
    """Delete what can be deleted; never raises OSError. A link goes, not what it leads to."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    for folder in folders_if_empty:
        # It refuses a folder that has anything in it.
        with contextlib.suppress(OSError):
            folder.rmdir()


if __name__ == "__main__":
    doomed, folders = json.load(sys.stdin)
    remove(map(Path, doomed), map(Path, folders))
