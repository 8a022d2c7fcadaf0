"""Real engine processes with a scripted edit (`scripted_engine.py`), and peers that speak to them.

A pytest plugin: its fixtures are there for every test, see conftest.py.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.scripted_engine import ScriptedEngine
from tokenflow_engine.client.connection import Connection, ConnectionLost, PendingConnection
from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.client.endpoint import Endpoint
from tokenflow_engine.client.handshake import ClientHandshake
from tokenflow_engine.client.jobs import Job
from tokenflow_engine.client.protocol import Message, request
from tokenflow_engine.client.session import EngineSession

GENEROUS_SECONDS = 60.0
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and modes are POSIX's")


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something; the limit only keeps a broken test from hanging."""
    deadline = time.monotonic() + GENEROUS_SECONDS
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited in vain: {what}")


def is_gone(pid: int) -> bool:
    """Ended; one that nobody has reaped yet counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, so that a Unix socket fits."""
    path = Path(tempfile.mkdtemp(prefix="tf"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def new_session(folder: Path) -> Iterator[Callable[..., EngineSession]]:
    """Makes sessions, each ended with the test, its engine too."""
    sessions: list[EngineSession] = []
    pids: set[int] = set()

    def make(runtime: str = "run", *options: str) -> EngineSession:
        session = EngineSession(ScriptedEngine(options=options), folder / runtime)
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        if session.engine_pid is not None:
            pids.add(session.engine_pid)
        session.close()
    for pid in pids:
        until(lambda pid=pid: is_gone(pid), f"engine {pid} ends with its session")


@pytest.fixture
def session(new_session: Callable[..., EngineSession]) -> EngineSession:
    return new_session()


def edit(prompt: str, folder: Path, **changes: Any) -> EditRequest:
    source, output, model = (str(folder / name) for name in ("source", "output", "model"))
    request = EditRequest(source=source, prompt=prompt, output=output, model=model)
    return replace(request, **changes)


def follow(session: EngineSession, job: Job, until_: Callable[[Job], bool]) -> list[Job]:
    """Poll until the job is as wanted; return every change on the way."""
    changes: list[Job] = []

    def pump() -> bool:
        changes.extend(replace(changed) for changed in session.poll())
        return until_(job)

    until(pump, f"{job.request.prompt!r} goes on from {job.state}")
    return changes


def finish(session: EngineSession, job: Job) -> list[Job]:
    return follow(session, job, lambda job: job.state.finished)


def running(session: EngineSession, job: Job) -> None:
    follow(session, job, lambda job: job.progress is not None)


def ready(session: EngineSession, folder: Path) -> Endpoint:
    """Have the session's engine started; return where it listens."""
    finish(session, session.submit(edit("steps 1", folder)))
    endpoint = Endpoint.read(folder / "run")
    assert endpoint is not None
    return endpoint


class Stranger:
    """A peer that speaks to the engine byte by byte, well or badly."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        pending = PendingConnection(endpoint.address)
        self.connection: Connection = until(pending.finished, "the engine accepts")
        self.inbox: list[Message] = []
        self.lost = False
        self._id = 100

    def receive(self) -> bool:
        """Take what has come; True if that was something, or the connection has ended."""
        before = len(self.inbox)
        try:
            for message in self.connection.receive():
                self.inbox.append(message)
            self.connection.flush()
        except ConnectionLost:
            self.lost = True
        return self.lost or len(self.inbox) > before

    def raw(self, data: bytes) -> None:
        self.connection.socket.setblocking(True)
        self.connection.socket.sendall(data)
        self.connection.socket.setblocking(False)

    def authenticated(self) -> Stranger:
        handshake = ClientHandshake(self.endpoint, "test")
        while not handshake.finished:
            until(self.receive, "the engine answers the handshake")
            assert not self.lost, "the engine closed the connection during the handshake"
            while self.inbox:
                answer = handshake.answer(self.inbox.pop(0))
                if answer is not None:
                    self.connection.send(answer)
        return self

    def call(self, method: str, **params: Any) -> Message:
        """Send a request and wait for its reply; notifications stay in the inbox."""
        self._id += 1
        self.connection.send(request(self._id, method, params))
        return self.reply_to(self._id)

    def wait_for(self, method: str, **params: Any) -> list[Message]:
        """Wait for a notification with these parameters; return the parameters of all like it."""

        def find() -> list[Message]:
            self.receive()
            of_method = [m["params"] for m in self.inbox if m.get("method") == method]
            return of_method if any(params.items() <= m.items() for m in of_method) else []

        return until(find, f"{method} {params}")  # type: ignore[no-any-return]

    def reply_to(self, request_id: int | None) -> Message:
        def find() -> Message | None:
            self.receive()
            found = (m for m in self.inbox if "method" not in m and m["id"] == request_id)
            return next(found, None)

        message: Message = until(find, f"a reply to request {request_id}")
        self.inbox.remove(message)
        return message

    def is_closed_out(self) -> bool:
        until(lambda: self.receive() and self.lost, "the engine closes the connection")
        return True

    def close(self) -> None:
        self.connection.close()


def connected(runtime: Path) -> Stranger:
    endpoint = until(lambda: Endpoint.read(runtime), "the engine listens")
    return Stranger(endpoint).authenticated()
