"""From nothing to an authenticated connection with an engine, one short step at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from .connection import Connection, ConnectionLost, PendingConnection
from .endpoint import Endpoint, private_folder
from .errors import TokenFlowError
from .handshake import FIRST_FREE_ID, ClientHandshake
from .launcher import EngineCommand, EngineProcess, launch
from .protocol import Message, ProtocolError, request

_ATTACH_SECONDS = 5.0
_ENDING_SECONDS = 2.0
"""A dying process closes its socket a moment before the system tells how it died."""
_START_SECONDS = 180.0
"""Python on a cold, slow disk may take long; an engine that ends early is noticed at once."""


class EngineLink:
    """Attaches to the engine that runs in the runtime folder, or starts one.

    `advance` is called again and again until `ready`; nothing here waits. Every method may raise
    TokenFlowError, "engine_missing" or "engine_lost"; the link is then of no further use.
    """

    def __init__(self, command: EngineCommand, runtime: Path, log: Path | None) -> None:
        self.ready = False
        self._command = command
        self._runtime = private_folder(runtime)
        self._log = log or self._runtime / "engine.log"
        self._process: EngineProcess | None = None
        self._pending: PendingConnection | None = None
        self._connection: Connection | None = None
        self._handshake: ClientHandshake | None = None
        self._next_id = FIRST_FREE_ID
        self._cause: Exception | None = None
        self._endpoint = Endpoint.read(self._runtime)
        if self._endpoint is None:
            self._launch()
        else:
            self._deadline = time.monotonic() + _ATTACH_SECONDS

    @property
    def engine_pid(self) -> int | None:
        return None if self._endpoint is None else self._endpoint.pid

    def advance(self) -> None:
        """Take the next steps towards `ready` that need no waiting."""
        try:
            self._connect_and_greet()
        except (ConnectionLost, ProtocolError, ValueError, TokenFlowError) as error:
            if self._process is None:
                self._leave_stale_engine()
            elif isinstance(error, ConnectionLost) and self._process.ending() is None:
                # The endpoint may be a moment older than the socket, or another engine's.
                self._forget_connection()
            else:
                raise self._lost(error) from error
        if not self.ready and time.monotonic() > self._deadline:
            if self._process is None:
                self._leave_stale_engine()
            else:
                raise self._lost(TimeoutError("it did not answer in time"))

    def send(self, method: str, params: Message) -> int:
        """Send a request; return its id. A lost engine shows in `receive`, not here.

        Raises:
            ProtocolError: the request is too large; the link stays good.
        """
        request_id = self._next_id
        self._next_id += 1
        if self._connection is not None:
            with contextlib.suppress(ConnectionLost):
                self._connection.send(request(request_id, method, params))
        return request_id

    def receive(self) -> Iterator[Message]:
        """Yield what the engine has sent; send what is still queued."""
        if self._cause is None and self._connection is not None:
            try:
                # Reading first: what a dying engine said last must not be lost to a failed send.
                yield from self._connection.receive()
                self._connection.flush()
            except (ConnectionLost, ProtocolError) as error:
                self._cause = error
                self._deadline = time.monotonic() + _ENDING_SECONDS
        if self._cause is not None and (
            self._process is None
            or self._process.ending() is not None
            or time.monotonic() > self._deadline
        ):
            raise self._lost(self._cause)

    def close(self) -> None:
        """Part with the engine; one that this link started is asked to end."""
        if self._process is not None:
            if self._connection is not None and self.ready:
                with contextlib.suppress(ConnectionLost, ProtocolError):
                    self._connection.send(request(self._next_id, "shutdown"))
            if self._endpoint is not None:
                # A session that starts right after this one must not meet the ending engine.
                with contextlib.suppress(OSError):
                    self._endpoint.remove(self._runtime)
            self._process.close()
            self._process = None
        self._forget_connection()

    def _launch(self) -> None:
        self._process = launch(self._command, self._runtime, self._log)
        self._deadline = time.monotonic() + _START_SECONDS

    def _leave_stale_engine(self) -> None:
        """Give up on the engine that the endpoint file names; start our own."""
        self._forget_connection()
        if self._endpoint is not None:
            with contextlib.suppress(OSError):
                self._endpoint.remove(self._runtime)
        self._endpoint = None
        self._launch()

    def _connect_and_greet(self) -> None:
        if self._connection is None:
            self._connection = self._connected()
        if self._connection is None or self._endpoint is None:
            return
        if self._handshake is None:
            self._handshake = ClientHandshake(self._endpoint, __version__)
        for message in self._connection.receive():
            answer = self._handshake.answer(message)
            if answer is not None:
                self._connection.send(answer)
            if self._handshake.finished:
                self.ready = True
                return
        self._connection.flush()

    def _connected(self) -> Connection | None:
        if self._pending is None:
            if self._process is not None:
                if self._process.ending() is not None:
                    raise ConnectionLost("the process ended before it was ready")
                self._endpoint = Endpoint.read(self._runtime)
            if self._endpoint is None:
                return None
            self._pending = PendingConnection(self._endpoint.address)
        connection = self._pending.finished()
        if connection is not None:
            self._pending = None
        return connection

    def _forget_connection(self) -> None:
        for part in (self._pending, self._connection):
            if part is not None:
                part.close()
        self._pending = self._connection = self._handshake = None
        self.ready = False

    def _lost(self, cause: Exception) -> TokenFlowError:
        """End what is left of the engine; return what to tell the user."""
        was_ready = self.ready
        self._forget_connection()
        if self._process is None:
            return TokenFlowError(
                "engine_lost",
                "The connection to the engine was lost.",
                "Run the edit again; finished phases are kept.",
                str(cause),
            )
        process, self._process = self._process, None
        ending, log_tail = process.ending(), process.log_tail()
        process.kill()
        process.close()
        if self._endpoint is not None:
            with contextlib.suppress(OSError):
                self._endpoint.remove(self._runtime)
        if isinstance(cause, TokenFlowError):
            return cause
        words = ending or f"had to be stopped: {cause}"
        details = f"The engine {words}.\n{log_tail}"
        if not was_ready:
            return TokenFlowError(
                "engine_lost",
                f"The engine did not start; it {words}.",
                "Install the engine again in the add-on's preferences; the details hold its log.",
                details,
            )
        return TokenFlowError(
            "engine_lost",
            f"The engine was lost; it {words}.",
            "Run the edit again; finished phases are kept. If this happens again, free some "
            "memory or choose fewer frames or a smaller size.",
            details,
        )
