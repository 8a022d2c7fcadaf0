"""What of the queue outlives this Blender: a folder for each edit, kept until it is settled.

    QUEUE/SESSION/lock            held as long as the Blender that made the session runs
    QUEUE/SESSION/EDIT/edit.json  what the edit is and how far it is
    QUEUE/SESSION/EDIT/frames/    the strip's pictures

A lock that can be taken belongs to a Blender that has crashed or was quit: what it left is then
taken over. Two Blenders at a time therefore never show each other's edits.
"""

from __future__ import annotations

import contextlib
import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..tokenflow_engine.client.child_processes import remove_soon

_RECORD = "edit.json"
_LOCK = "lock"
_MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class LeftEdit:
    """An edit that an earlier Blender left: its folder and the values it was kept with."""

    folder: Path
    values: dict[str, Any]


class QueueStore:
    """Keeps records of edits under `root`.

    A record is a few kilobytes, written at once when an edit enters another stage; the pictures of
    an edit that is dropped are deleted by a child process.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._session: Path | None = None
        self._locks: dict[Path, IO[bytes]] = {}

    def new_folder(self) -> Path:
        """A new folder for an edit of this session.

        Raises:
            OSError: it cannot be made.
        """
        if self._session is None:
            session = self._root / uuid.uuid4().hex
            session.mkdir(parents=True)
            self._take(session)
            self._session = session
        folder = self._session / uuid.uuid4().hex
        folder.mkdir()
        return folder

    def keep(self, folder: Path, values: dict[str, Any]) -> None:
        """Write an edit's record, whole or not at all."""
        # A full disk must not end the edit: its record is then as old as the last one.
        with contextlib.suppress(OSError):
            _write(folder, json.dumps(values))

    def drop(self, folder: Path) -> None:
        """Forget an edit; its folder goes soon."""
        _forget(folder)
        remove_soon([folder])

    def left_edits(self) -> list[LeftEdit]:
        """Take over what Blenders that have ended left here, oldest first."""
        found = []
        with contextlib.suppress(OSError):
            for session in sorted(self._root.iterdir()):
                if session.is_dir() and session not in self._locks and self._take(session):
                    left = list(_records(session))
                    found += left
                    kept = {edit.folder for edit in left}
                    doomed = [f for f in session.iterdir() if f.is_dir() and f not in kept]
                    for folder in doomed:
                        _forget(folder)
                    if left:
                        remove_soon(doomed)
                    else:
                        self._leave(session)
        return sorted(found, key=lambda left: left.values.get("number", 0))

    def close(self) -> None:
        """Let others take over what is left."""
        for session in list(self._locks):
            self._leave(session)
        self._session = None

    def _take(self, session: Path) -> bool:
        """Lock a session's folder; False if its Blender still runs."""
        file = (session / _LOCK).open("ab")
        if not _lock(file):
            file.close()
            return False
        self._locks[session] = file
        return True

    def _leave(self, session: Path) -> None:
        """Unlock a session; its folder goes soon if no edit is left in it."""
        lock = self._locks.pop(session, None)
        if lock is not None:
            lock.close()
        if not any(_records(session)):
            remove_soon([session])


def _forget(folder: Path) -> None:
    """Delete an edit's record first: an edit half deleted must not come back."""
    with contextlib.suppress(OSError):
        (folder / _RECORD).unlink()


def _write(folder: Path, text: str) -> None:
    if folder.is_dir():
        partial = folder / f"{_RECORD}.part"
        partial.write_text(text, "utf-8")
        partial.replace(folder / _RECORD)


def _records(session: Path) -> Iterator[LeftEdit]:
    for file in session.glob(f"*/{_RECORD}"):
        try:
            with file.open("rb") as opened:
                values = json.loads(opened.read(_MAX_RECORD_BYTES))
        except (OSError, ValueError):
            values = None
        if isinstance(values, dict):
            yield LeftEdit(file.parent, values)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
