"""Notices that the process which started the engine is gone, however it ended."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable

from ..client.processes import process_runs

_STDIN = 0


class OwnerWatch:
    """Tells whether the owner has ended, also where its process id is used again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        if sys.platform == "win32":
            self._handle = _open_process(pid)
        else:
            self._is_parent = os.getppid() == pid

    @property
    def gone(self) -> bool:
        if sys.platform == "win32":
            return self._handle is None or _has_ended(self._handle)
        if self._is_parent:
            # An orphan gets another parent at once, even before its old one is reaped.
            return os.getppid() != self._pid
        return not process_runs(self._pid)


def when_input_ends(act: Callable[[], None]) -> None:
    """Call `act` from a thread once standard input ends, if it is a pipe.

    The owner holds the other end and never writes: the end of the pipe is the end of the owner.
    """
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(_STDIN).st_mode)
    except OSError:
        return
    if is_pipe:
        threading.Thread(target=_wait_for_end, args=(act,), name="owner", daemon=True).start()


def _wait_for_end(act: Callable[[], None]) -> None:
    try:
        while os.read(_STDIN, 4096):
            pass
    except OSError:
        pass
    act()


if sys.platform == "win32":
    import ctypes

    _SYNCHRONIZE = 0x00100000
    _WAIT_OBJECT_0 = 0

    def _open_process(pid: int) -> int | None:
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle: int | None = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
        return handle

    def _has_ended(handle: int) -> bool:
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        ended: int = kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0)
        return ended == _WAIT_OBJECT_0
