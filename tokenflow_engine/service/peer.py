"""One connected client: its authentication and what is on its way to it."""

from __future__ import annotations

from typing import Any

from ..client.connection import Connection
from ..client.handshake import EngineHandshake
from ..client.protocol import Message, notification

_CONGESTED_BYTES = 1 << 16
_MAX_UNSENT_BYTES = 1 << 23


class PeerTooSlow(Exception):
    """The client does not read; what is meant for it would fill the memory."""


class Peer:
    """A client that reads slowly gets fewer progress reports, never a growing backlog."""

    def __init__(self, connection: Connection, handshake: EngineHandshake, deadline: float) -> None:
        """deadline: `time.monotonic()` by which the handshake must be finished."""
        self.connection = connection
        self.handshake = handshake
        self.deadline = deadline
        self._progress: dict[tuple[str, str], Message] = {}

    @property
    def is_congested(self) -> bool:
        return self.connection.unsent_bytes > _CONGESTED_BYTES

    def send(self, message: Message) -> None:
        self.connection.send(message)
        if self.connection.unsent_bytes > _MAX_UNSENT_BYTES:
            raise PeerTooSlow

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a job's notification; of progress within a phase only the latest is kept back."""
        message = notification(method, params)
        if method == "job.progress":
            self._progress[params["job"], params["phase"]] = message
            self.flush()
            return
        # A job's last progress must come before its end.
        for key in [key for key in self._progress if key[0] == params["job"]]:
            self.send(self._progress.pop(key))
        self.send(message)

    def flush(self) -> None:
        """Send what was queued, then progress as far as the client keeps up."""
        self.connection.flush()
        while self._progress and not self.is_congested:
            self.send(self._progress.pop(next(iter(self._progress))))
