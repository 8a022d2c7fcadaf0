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
import queue
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

_RECORD = "edit.json"
_LOCK = "lock"
_MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class LeftEdit:
    """An edit that an earlier Blender left: its folder and the values it was kept with."""

    folder: Path
    values: dict[str, Any]


class QueueStore:
    """Keeps records of edits under `root`. Writing and deleting is done by a thread of its own.

    Only `left_edits` reads the disk while its caller waits.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._session: Path | None = None
        self._locks: dict[Path, IO[bytes]] = {}
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

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
        """Write an edit's record soon, whole or not at all."""
        text = json.dumps(values)
        self._soon(lambda: _write(folder, text))

    def drop(self, folder: Path) -> None:
        """Delete an edit's folder soon."""
        self._soon(lambda: self._delete(folder))

    def left_edits(self) -> list[LeftEdit]:
        """Take over what Blenders that have ended left here, oldest first."""
        found = []
        with contextlib.suppress(OSError):
            for session in sorted(self._root.iterdir()):
                if session.is_dir() and session not in self._locks and self._take(session):
                    left = list(_records(session))
                    found += left
                    kept = {edit.folder for edit in left}
                    for folder in session.iterdir():
                        if folder.is_dir() and folder not in kept:
                            self._soon(partial(self._delete, folder))
                    if not left:
                        self._soon(partial(self._leave, session))
        return sorted(found, key=lambda left: left.values.get("number", 0))

    def close(self) -> None:
        """Finish writing, and let others take over what is left."""
        if self._worker is not None:
            self._tasks.put(None)
            self._worker.join(10)
            self._worker = None
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
        """Unlock a session; its folder goes if no edit is left in it."""
        lock = self._locks.pop(session, None)
        if lock is not None:
            lock.close()
        with contextlib.suppress(OSError):
            if [path.name for path in session.iterdir()] == [_LOCK]:
                (session / _LOCK).unlink()
                session.rmdir()

    def _delete(self, folder: Path) -> None:
        # The record first: an edit half deleted must not come back.
        with contextlib.suppress(OSError):
            (folder / _RECORD).unlink()
        shutil.rmtree(folder, ignore_errors=True)

    def _soon(self, act: Callable[[], None]) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="queue", daemon=True)
            self._worker.start()
        self._tasks.put(act)

    def _work(self) -> None:
        while (act := self._tasks.get()) is not None:
            # A full disk must not end the thread: a record is then as old as the last one.
            with contextlib.suppress(OSError):
                act()


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
