"""One framed, non-blocking socket; the same class serves Blender and the engine."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from .protocol import FrameDecoder, Message, encode

_CHUNK_BYTES = 1 << 16
_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, errno.EISCONN}


class ConnectionLost(Exception):
    """The other side closed the socket, or the system did."""


class Connection:
    """Sends and receives messages without ever waiting.

    The caller decides when to try: whenever a selector says so (engine) or on a timer (Blender).
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._decoder = FrameDecoder()
        self._outgoing = bytearray()

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def unsent_bytes(self) -> int:
        return len(self._outgoing)

    def send(self, message: Message) -> None:
        """Queue a message and send what the socket takes now.

        Raises:
            ConnectionLost: the other side is gone.
            ProtocolError: the message is too large or not JSON; nothing was queued.
        """
        self._outgoing += encode(message)
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now.

        Raises:
            ConnectionLost: the other side is gone.
        """
        while self._outgoing:
            try:
                sent = self.socket.send(bytes(self._outgoing[:_CHUNK_BYTES]))
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            del self._outgoing[:sent]

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived; stop early and none is lost.

        Raises:
            ConnectionLost: the other side is gone; messages sent before that were yielded.
            ProtocolError: the other side broke the protocol.
        """
        yield from self._decoder.messages()
        while True:
            try:
                data = self.socket.recv(_CHUNK_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            if not data:
                raise ConnectionLost("the other side closed the connection")
            self._decoder.feed(data)
            yield from self._decoder.messages()

    def close(self) -> None:
        self.socket.close()


class PendingConnection:
    """A socket on its way to an address; `finished` never waits."""

    def __init__(self, address: str) -> None:
        """Start connecting.

        Raises:
            ConnectionLost: nobody listens there.
            ValueError: the address is not `unix:PATH` or `tcp:127.0.0.1:PORT`.
        """
        self._socket, self._target = _socket_for(address)
        self._socket.setblocking(False)
        try:
            # A Unix socket whose backlog is full refuses for the moment instead of queueing.
            self._retry = self._connect() == errno.EAGAIN and isinstance(self._target, str)
        except ConnectionLost:
            self._socket.close()
            raise

    def _connect(self) -> int:
        code = self._socket.connect_ex(self._target)
        if code not in _IN_PROGRESS:
            raise ConnectionLost(errno.errorcode.get(code, str(code)))
        return code

    def finished(self) -> Connection | None:
        """The open connection, or None while it is under way.

        Raises:
            ConnectionLost: nobody listens there.
        """
        if self._retry:
            self._connect()
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise ConnectionLost(errno.errorcode.get(code, str(code)))
        try:
            self._socket.getpeername()
        except OSError:
            return None
        return Connection(self._socket)

    def close(self) -> None:
        self._socket.close()


def _socket_for(address: str) -> tuple[socket.socket, str | tuple[str, int]]:
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest and hasattr(socket, "AF_UNIX"):
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), rest
    host, _, port = rest.partition(":")
    if kind == "tcp" and host == "127.0.0.1" and port.isascii() and port.isdigit():
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM), (host, int(port))
    raise ValueError(f"{address!r} is not an address of an engine")
