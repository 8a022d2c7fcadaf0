"""The socket that the engine listens on: a Unix socket where there is one, else loopback."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

_MAX_UNIX_PATH = 100
"""Bytes; systems allow 104 to 108."""
_BACKLOG = 16


@dataclass(frozen=True)
class Listener:
    """An open socket and its address in an `Endpoint`'s form."""

    socket: socket.socket
    address: str
    path: Path | None = None

    def close(self) -> None:
        self.socket.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def listen(runtime: Path) -> Listener:
    """Listen in the private folder `runtime`, or on a free port of 127.0.0.1.

    Raises:
        OSError: neither is possible.
    """
    path = runtime / f"{os.getpid()}.sock"
    if sys.platform != "win32" and len(os.fsencode(path)) <= _MAX_UNIX_PATH:
        _remove_stale_sockets(runtime)
        # Some file systems hold no sockets; loopback is as safe, since the token guards it.
        with contextlib.suppress(OSError):
            return _listen_on_path(path)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.bind(("127.0.0.1", 0))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return Listener(sock, f"tcp:127.0.0.1:{sock.getsockname()[1]}")


def _listen_on_path(path: Path) -> Listener:
    if sys.platform == "win32":
        raise OSError("there are no Unix sockets")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return Listener(sock, f"unix:{path}", path)


def _remove_stale_sockets(runtime: Path) -> None:
    """Delete the sockets of engines that were killed; process ids cannot tell, they come again."""
    if sys.platform == "win32":
        return
    for path in runtime.glob("*.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                with contextlib.suppress(OSError):
                    path.unlink()
