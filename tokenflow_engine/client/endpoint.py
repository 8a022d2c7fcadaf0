"""Where a running engine listens and the token that it wants: one private file.

As with Jupyter's connection file, whoever can read the file may use the engine; the file and its
folder are therefore readable by their owner only.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .errors import TokenFlowError
from .protocol import TOKEN_BYTES

ENDPOINT_NAME = "engine.json"
_MAX_FILE_BYTES = 1 << 16


@dataclass(frozen=True)
class Endpoint:
    """A running engine's address.

    address: `unix:PATH` or `tcp:127.0.0.1:PORT`.
    token: `TOKEN_BYTES` random bytes, fresh for every start; kept out of reprs and logs.
    pid: the engine's process id.
    """

    address: str
    token: bytes = field(repr=False)
    pid: int

    def write(self, runtime: Path) -> Path:
        """Write the endpoint file, mode 0600, in one step; return its path.

        Raises:
            OSError: the folder cannot be written to.
        """
        target = runtime / ENDPOINT_NAME
        partial = runtime / f".{ENDPOINT_NAME}.{secrets.token_hex(8)}"
        content = json.dumps(
            {"address": self.address, "token": self.token.hex(), "pid": self.pid}
        ).encode()
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return target

    @classmethod
    def read(cls, runtime: Path) -> Endpoint | None:
        """The endpoint in a runtime folder; None if there is none, or none that can be trusted."""
        path = runtime / ENDPOINT_NAME
        try:
            with path.open("rb") as file:
                if not _is_private(os.fstat(file.fileno())):
                    return None
                values = json.loads(file.read(_MAX_FILE_BYTES))
            endpoint = cls(values["address"], bytes.fromhex(values["token"]), values["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        well_formed = isinstance(endpoint.address, str) and isinstance(endpoint.pid, int)
        return endpoint if well_formed and len(endpoint.token) == TOKEN_BYTES else None

    def remove(self, runtime: Path) -> None:
        """Delete the endpoint file unless a newer engine has replaced it."""
        if Endpoint.read(runtime) == self:
            (runtime / ENDPOINT_NAME).unlink(missing_ok=True)


def private_folder(path: Path) -> Path:
    """Make the folder if needed, readable by its owner only; return it resolved.

    Raises:
        TokenFlowError: code "bad_request", if it cannot be made or belongs to someone else.
    """
    try:
        path.mkdir(parents=True, mode=0o700, exist_ok=True)
        folder = path.resolve(strict=True)
        if not _is_private(folder.stat()):
            # Fails for a folder of another user, which must not be used.
            folder.chmod(0o700)
            if not _is_private(folder.stat()):
                raise PermissionError(f"{folder} is open to others")
    except OSError as error:
        raise TokenFlowError(
            "bad_request",
            f"The folder for the engine's socket cannot be used: {path}.",
            "Choose a folder of your own that can be written to.",
            str(error),
        ) from error
    return folder


def _is_private(status: os.stat_result) -> bool:
    if sys.platform == "win32":
        # Windows keeps a profile's folders from other users by access lists, not by mode bits.
        return True
    return status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
