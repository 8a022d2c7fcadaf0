"""The thread that owns the socket: accepts, authenticates, answers, notifies; never computes."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from .. import __version__
from ..client.connection import Connection, ConnectionLost
from ..client.endpoint import Endpoint
from ..client.errors import TokenFlowError
from ..client.handshake import EngineHandshake
from ..client.protocol import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Message,
    ProtocolError,
    error_reply,
    reply,
)
from .capabilities import capabilities, find_devices
from .failures import failure_from
from .listener import Listener
from .methods import EngineMethods, job_id
from .peer import Peer, PeerTooSlow

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.5
_HANDSHAKE_SECONDS = 10.0
_MAX_PEERS = 32
_MESSAGES_AT_ONCE = 64
"""Of one peer, before the others have their turn."""


class EngineServer:
    """Serves clients until `stop`; `tick` is called about twice a second in between."""

    def __init__(self, listener: Listener, endpoint: Endpoint, tick: Callable[[], None]) -> None:
        self._listener = listener
        self._endpoint = endpoint
        self._tick = tick
        self._peers: set[Peer] = set()
        self._subscribers: defaultdict[str, set[Peer]] = defaultdict(set)
        self._posted: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._methods: EngineMethods | None = None
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock in (listener.socket, self._wake_receiver, self._wake_sender):
            sock.setblocking(False)
        self._selector.register(listener.socket, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._woken)

    @property
    def has_peers(self) -> bool:
        return bool(self._peers)

    def post(self, act: Callable[[], None]) -> None:
        """Have `act` called soon by the thread that runs the server; callable from any thread."""
        self._posted.append(act)
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"\0")

    def stop(self) -> None:
        """End `run` soon; callable from any thread and from a signal handler."""
        self._stopping = True
        self.post(lambda: None)

    def announce(self, job: str, method: str, params: dict[str, Any]) -> None:
        """Notify the job's subscribers; callable from any thread."""
        self.post(lambda: self._notify(job, method, params))

    def run(self, methods: EngineMethods) -> None:
        """Serve until `stop` is called."""
        self._methods = methods
        while not self._stopping:
            for key, _ in self._selector.select(_TICK_SECONDS):
                key.data()
            self._run_posted()
            now = time.monotonic()
            for peer in list(self._peers):
                if not peer.handshake.finished and now > peer.deadline:
                    self._drop(peer, "it did not authenticate in time")
            self._tick()

    def close(self) -> None:
        """Say what is left to say, then close every socket."""
        self._run_posted()
        for peer in list(self._peers):
            self._drop(peer, "the engine ends")
        self._listener.close()
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_receiver.recv(4096):
                pass

    def _run_posted(self) -> None:
        for _ in range(len(self._posted)):
            self._posted.popleft()()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.socket.accept()
        except OSError:
            return
        if len(self._peers) >= _MAX_PEERS:
            sock.close()
            return
        deadline = time.monotonic() + _HANDSHAKE_SECONDS
        handshake = EngineHandshake(self._endpoint, __version__)
        peer = Peer(Connection(sock), handshake, deadline)
        self._peers.add(peer)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._serve(peer))
        self._guarded(peer, lambda: peer.send(handshake.challenge()))

    def _serve(self, peer: Peer) -> None:
        self._guarded(peer, lambda: self._exchange(peer))

    def _exchange(self, peer: Peer) -> None:
        peer.flush()
        if peer.is_congested:
            return
        for count, message in enumerate(peer.connection.receive(), 1):
            self._take(peer, message)
            if peer.is_congested:
                return
            if count == _MESSAGES_AT_ONCE:
                # Messages that were read already make no selector event.
                self.post(lambda: self._serve(peer))
                return

    def _guarded(self, peer: Peer, act: Callable[[], None]) -> None:
        """Do something with a peer; whatever goes wrong ends its connection only."""
        if peer not in self._peers:
            return
        try:
            act()
        except (ConnectionLost, ProtocolError, PeerTooSlow) as error:
            self._drop(peer, str(error) or type(error).__name__)
            return
        except Exception:
            log.exception("a connection could not be served")
            self._drop(peer, "an error of the engine")
            return
        events = 0 if peer.is_congested else selectors.EVENT_READ
        if peer.connection.unsent_bytes:
            events |= selectors.EVENT_WRITE
        key = self._selector.get_key(peer.connection)
        if key.events != events:
            self._selector.modify(peer.connection, events, key.data)

    def _drop(self, peer: Peer, reason: str) -> None:
        log.info("a connection ends: %s", reason)
        self._peers.discard(peer)
        for subscribers in self._subscribers.values():
            subscribers.discard(peer)
        self._selector.unregister(peer.connection)
        peer.connection.close()

    def _notify(self, job: str, method: str, params: dict[str, Any]) -> None:
        for peer in list(self._subscribers.get(job, ())):
            self._guarded(peer, partial(peer.notify, method, params))
        if method in ("job.done", "job.failed") or params.get("state") == "cancelled":
            self._subscribers.pop(job, None)

    def _take(self, peer: Peer, message: Message) -> None:
        if not peer.handshake.finished:
            peer.send(peer.handshake.answer(message))
            return
        request_id = message.get("id")
        method, params = message.get("method"), message.get("params", {})
        if (
            not isinstance(request_id, (int, str))
            or not isinstance(method, str)
            or not isinstance(params, dict)
        ):
            error = TokenFlowError("bad_request", "The message is not a request.")
            peer.send(error_reply(None, error, INVALID_REQUEST))
            return
        try:
            self._answer(peer, request_id, method, params)
        except TokenFlowError as error:
            peer.send(error_reply(request_id, error))

    def _answer(
        self, peer: Peer, request_id: int | str, method: str, params: dict[str, Any]
    ) -> None:
        assert self._methods is not None
        if method == "shutdown":
            # The order matters: a client that closes at once makes the reply fail.
            self.stop()
            peer.send(reply(request_id, {}))
        elif method == "capabilities" and params.get("probe") is True:
            threading.Thread(
                target=self._probe, args=(peer, request_id), name="devices", daemon=True
            ).start()
        elif method in self._methods.by_name:
            result = self._methods.by_name[method](params)
            if method == "job.submit" or (method == "job.status" and params.get("subscribe")):
                self._subscribers[job_id(params)].add(peer)
            peer.send(reply(request_id, result))
        else:
            error = TokenFlowError("bad_request", f"The engine has no method {method!r}.")
            peer.send(error_reply(request_id, error, METHOD_NOT_FOUND))

    def _probe(self, peer: Peer, request_id: int | str) -> None:
        """Look for devices off the socket's thread, since loading torch takes seconds."""
        try:
            devices = find_devices()
        except Exception as error:
            message = error_reply(request_id, failure_from(error))
        else:
            if self._methods is not None:
                self._methods.devices = devices
            message = reply(request_id, capabilities(devices))
        self.post(lambda: self._guarded(peer, lambda: peer.send(message)))
