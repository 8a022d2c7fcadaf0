"""The socket with real engine processes: trust, jobs, faults, and how an engine ends.

The edit in them is scripted (see `scripted_engine.py`); `test_service_edit.py` runs the real one.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.scripted_engine import ROOT, ScriptedEngine
from tokenflow_engine.client.connection import Connection, ConnectionLost, PendingConnection
from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.client.endpoint import ENDPOINT_NAME, Endpoint
from tokenflow_engine.client.handshake import ClientHandshake
from tokenflow_engine.client.jobs import Job, JobState
from tokenflow_engine.client.protocol import (
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    TOKEN_BYTES,
    Message,
    encode,
    request,
)
from tokenflow_engine.client.session import EngineSession, EngineState

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


# Trust


def test_a_wrong_token_is_refused(session: EngineSession, folder: Path) -> None:
    endpoint = replace(ready(session, folder), token=secrets.token_bytes(TOKEN_BYTES))
    with (
        closing(Stranger(endpoint)) as stranger,
        pytest.raises(AssertionError, match="closed the connection during the handshake"),
    ):
        stranger.authenticated()
    finish(session, session.submit(edit("steps 1", folder)))
    assert session.state is EngineState.READY


@pytest.mark.parametrize("method", ["job.submit", "shutdown", "hello", "capabilities"])
def test_an_unauthenticated_peer_gets_nothing_done(
    session: EngineSession, folder: Path, method: str
) -> None:
    endpoint = ready(session, folder)
    job = {"job": "stranger", "request": edit("steps 1", folder).to_json()}
    with closing(Stranger(endpoint)) as stranger:
        stranger.raw(encode(request(1, method, {**job, "protocol": PROTOCOL_VERSION})))
        assert stranger.is_closed_out()
        assert [message.get("method") for message in stranger.inbox] == ["challenge"]
    with closing(Stranger(endpoint).authenticated()) as trusted:
        known = trusted.call("job.status")["result"]["jobs"]
    assert [job["job"] for job in known] == list(session.jobs)


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", MAX_FRAME_BYTES + 1),
        struct.pack(">I", 9) + b"not json!",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["oversize", "not JSON", "HTTP"],
)
def test_a_bad_frame_ends_its_own_connection_and_no_other(
    session: EngineSession, folder: Path, data: bytes, trusted: bool
) -> None:
    endpoint = ready(session, folder)
    job = session.submit(edit("steps 5", folder))
    with closing(Stranger(endpoint)) as stranger:
        if trusted:
            stranger.authenticated()
        stranger.raw(data)
        assert stranger.is_closed_out()
    finish(session, job)
    assert job.state is JobState.DONE
    assert session.engine_pid == endpoint.pid


def test_frames_may_arrive_one_byte_at_a_time(session: EngineSession, folder: Path) -> None:
    with closing(Stranger(ready(session, folder)).authenticated()) as slow:
        for byte in encode(request(9, "models.list")):
            slow.raw(bytes([byte]))
        models = slow.reply_to(9)["result"]["models"]
    assert models[0]["id"] == "embedded"


def test_another_protocol_version_is_refused_in_words(session: EngineSession, folder: Path) -> None:
    endpoint = ready(session, folder)
    with closing(Stranger(endpoint)) as old:
        handshake = ClientHandshake(endpoint, "old")
        until(old.receive, "the challenge")
        old.connection.send(handshake.answer(old.inbox.pop()) or {})
        old.reply_to(1)
        old.connection.send(request(2, "hello", {"protocol": 0, "client": "old"}))
        error = old.reply_to(2)["error"]["data"]
    assert "version 0" in error["message"] and error["code"] == "engine_missing"
    assert error["remedy"]


@posix
def test_endpoint_socket_and_folder_are_for_their_owner_only(
    session: EngineSession, folder: Path
) -> None:
    endpoint = ready(session, folder)
    path = Path(endpoint.address.removeprefix("unix:"))
    modes = [p.stat().st_mode & 0o777 for p in (folder / "run", folder / "run" / ENDPOINT_NAME)]
    assert modes == [0o700, 0o600]
    assert path.parent == (folder / "run").resolve() and path.stat().st_mode & 0o777 == 0o600


def test_loopback_serves_where_a_unix_socket_does_not_fit(
    new_session: Callable[..., EngineSession], folder: Path
) -> None:
    runtime = "d" * 60 + "/" + "e" * 60
    session = new_session(runtime)
    job = session.submit(edit("steps 2", folder))
    finish(session, job)
    endpoint = Endpoint.read(folder / runtime)
    assert job.state is JobState.DONE
    assert endpoint is not None and endpoint.address.startswith("tcp:127.0.0.1:")


# Requests


def test_requests_that_cannot_be_met_get_an_error_and_the_connection_stays(
    session: EngineSession, folder: Path
) -> None:
    good = edit("steps 1", folder).to_json()
    (folder / "file").touch()
    with closing(Stranger(ready(session, folder)).authenticated()) as client:
        for params in (
            {},
            {"job": "a"},
            {"job": "../a", "request": good},
            {"job": "a", "request": {**good, "prompt": " "}},
            {"job": "a", "request": {**good, "steps": 0}},
            {"job": "a", "request": {**good, "pickle": "x"}},
            {"job": "a", "request": {**good, "output": str(folder / "file")}},
            {"job": "a", "request": {**good, "output": str(folder / "run" / "x")}},
            {"job": "a", "request": {**good, "source": "relative"}},
            {"job": "a", "request": {**good, "negative_prompt": "x" * 100_000}},
        ):
            error = client.call("job.submit", **params)["error"]
            assert error["data"]["code"] == "bad_request", params
            assert error["message"]
        assert client.call("job.cancel", job="nobody")["error"]["data"]["code"] == "bad_request"
        assert client.call("no.such.method")["error"]["code"] == -32601
        client.connection.send({"jsonrpc": "2.0", "id": 1.5, "method": "job.status"})
        assert client.reply_to(None)["error"]["code"] == -32600
        assert client.call("job.submit", job="a", request=good)["result"]["state"] == "queued"
        again = client.call("job.submit", job="a", request=good)["error"]["data"]
        assert "exists already" in again["message"]


def test_capabilities_are_told_without_looking_for_devices(
    session: EngineSession, folder: Path
) -> None:
    with closing(Stranger(ready(session, folder)).authenticated()) as client:
        told = client.call("capabilities")["result"]
    assert told["devices"] is None
    assert "pnp" in told["editors"] and "smooth" in told["modes"]
    assert [model["id"] for model in told["models"]] == ["embedded"]


# Jobs


def test_progress_arrives_in_order_and_the_result_last(
    session: EngineSession, folder: Path
) -> None:
    job = session.submit(edit("steps 8", folder))
    assert job.state is JobState.WAITING and session.state is EngineState.STARTING
    changes = finish(session, job)
    states = list(JobState)
    order = [states.index(change.state) for change in changes]
    assert order == sorted(order)
    reports = [change.progress for change in changes if change.progress]
    steps = [("invert edit".index(report.phase), report.done) for report in reports]
    assert steps == sorted(steps)
    assert reports[-1] == job.progress
    assert (reports[-1].phase, reports[-1].done, reports[-1].total) == ("edit", 8, 8)
    assert job.state is JobState.DONE and job.error is None
    assert job.result is not None and job.result.warnings == ("scripted",)


def test_a_bad_request_is_refused_before_it_is_sent(session: EngineSession, folder: Path) -> None:
    with pytest.raises(Exception, match="prompt is empty"):
        session.submit(edit("  ", folder))
    assert session.jobs == {} and session.state is EngineState.STOPPED


def test_cancel_is_acknowledged_and_lands_within_one_step(
    session: EngineSession, folder: Path
) -> None:
    request_ = edit("steps 100000", folder).to_json()
    with closing(Stranger(ready(session, folder)).authenticated()) as client:
        client.call("job.submit", job="long", request=request_)
        client.wait_for("job.progress", job="long")
        told = client.call("job.cancel", job="long")["result"]
        assert told["cancel_requested"] is True
        at_cancel = told["progress"]["done"]
        client.wait_for("job.state", job="long", state="cancelled")
        assert client.wait_for("job.progress")[-1]["done"] <= at_cancel + 1
        assert client.call("job.status", job="long")["result"]["state"] == "cancelled"


def test_a_running_job_is_cancelled_by_the_engine_and_a_queued_one_at_once(
    session: EngineSession, folder: Path
) -> None:
    first = session.submit(edit("steps 100000", folder))
    second = session.submit(edit("steps 1", folder))
    third = session.submit(edit("steps 1", folder))
    running(session, first)
    session.cancel(second)
    assert second.state is JobState.CANCELLED and second in session.poll()
    session.cancel(first)
    assert first.state is JobState.RUNNING and first.cancel_requested
    finish(session, first)
    finish(session, third)
    assert first.state is JobState.CANCELLED and first.error is None
    assert second.state is JobState.CANCELLED and second.progress is None
    assert third.state is JobState.DONE


def test_queued_jobs_run_in_the_order_they_are_put_in(session: EngineSession, folder: Path) -> None:
    running_one = session.submit(edit("steps 100000", folder))
    second, third, fourth = (session.submit(edit("steps 3", folder)) for _ in range(3))
    running(session, running_one)
    endpoint = Endpoint.read(folder / "run") or pytest.fail()
    with closing(Stranger(endpoint).authenticated()) as client:

        def all_have_arrived() -> bool:
            return len(client.call("job.status")["result"]["jobs"]) == 4

        until(all_have_arrived, "the engine has read every job")
        assert client.call("job.order", jobs="all")["error"]["data"]["code"] == "bad_request"
        # Jobs that nobody knows or that run already are passed over, others keep their turns.
        told = client.call("job.order", jobs=["x", fourth.id, running_one.id, second.id])["result"]
        assert told["waiting"] == [fourth.id, third.id, second.id]
    session.order([third, fourth])
    session.cancel(running_one)
    begun: list[Job] = []

    def all_began() -> bool:
        # Without time for more, a poll takes one message: two jobs never begin within one poll.
        for job in session.poll(budget_seconds=0.0):
            if job.progress is not None and job is not running_one and job not in begun:
                begun.append(job)
        return len(begun) == 3

    until(all_began, "all three have run")
    assert begun == [third, fourth, second]


def test_jobs_that_were_waiting_for_a_lost_engine_say_so(
    session: EngineSession, folder: Path
) -> None:
    first, second = session.submit(edit("hang", folder)), session.submit(edit("steps 1", folder))
    running(session, first)
    os.kill(session.engine_pid or pytest.fail(), signal.SIGKILL)
    finish(session, second)
    assert (first.state, first.lost_in_queue) == (JobState.FAILED, False)
    assert (second.state, second.lost_in_queue) == (JobState.FAILED, True)


def test_a_job_cancelled_before_the_engine_is_up_is_never_sent(
    session: EngineSession, folder: Path
) -> None:
    first, second = (session.submit(edit("steps 1", folder)) for _ in range(2))
    session.cancel(first)
    assert first.state is JobState.CANCELLED
    finish(session, second)
    with closing(Stranger(Endpoint.read(folder / "run") or pytest.fail())) as client:
        assert client.authenticated().call("job.status", job=first.id)["error"]


@pytest.mark.parametrize(
    ("prompt", "code", "words"),
    [("raise", "internal", "ZeroDivisionError"), ("memory", "out_of_memory", "MemoryError")],
)
def test_an_edit_that_raises_fails_alone(
    session: EngineSession, folder: Path, prompt: str, code: str, words: str
) -> None:
    bad, good = session.submit(edit(prompt, folder)), session.submit(edit("steps 1", folder))
    finish(session, good)
    assert bad.state is JobState.FAILED and bad.error is not None
    assert bad.error.code == code and bad.error.remedy
    assert words in bad.error.details and "Traceback" in bad.error.details
    assert good.state is JobState.DONE and session.state is EngineState.READY


def test_notifications_go_to_those_who_submitted_or_subscribed(
    session: EngineSession, folder: Path
) -> None:
    endpoint = ready(session, folder)
    with (
        closing(Stranger(endpoint).authenticated()) as subscriber,
        closing(Stranger(endpoint).authenticated()) as bystander,
    ):
        job = session.submit(edit("steps 20", folder))
        running(session, job)
        subscriber.call("job.status", job=job.id, subscribe=True)
        finish(session, job)
        assert bystander.call("job.status", job=job.id)["result"]["state"] == "done"
        subscriber.wait_for("job.done", job=job.id)
        assert bystander.inbox == []


def test_a_client_that_reads_nothing_gets_less_progress_but_every_end(
    session: EngineSession, folder: Path
) -> None:
    reports = 30_000
    with closing(Stranger(ready(session, folder)).authenticated()) as sleeper:
        sleeper.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flood = edit(f"flood {reports}", folder).to_json()
        sleeper.call("job.submit", job="flood", request=flood)
        # The engine serves others meanwhile, and runs the next job after the flood.
        after = session.submit(edit("steps 1", folder))
        finish(session, after)
        assert after.state is JobState.DONE
        sleeper.wait_for("job.done", job="flood")
        assert sleeper.inbox[-1]["method"] == "job.done"
        progress = sleeper.wait_for("job.progress")
    assert len(progress) < 2 * reports
    assert [report["done"] for report in progress if report["phase"] == "invert"][-1] == reports
    assert (progress[-1]["phase"], progress[-1]["done"]) == ("edit", reports)


def test_models_are_released_when_nothing_comes(
    new_session: Callable[..., EngineSession], folder: Path
) -> None:
    session = new_session("run", "--idle-seconds", "0.05")
    finish(session, session.submit(edit("steps 1", folder)))
    until((folder / "run" / "released").exists, "the release")
    job = session.submit(edit("steps 1", folder))
    finish(session, job)
    assert job.state is JobState.DONE


# Engines that are missing or die


def test_a_missing_interpreter_fails_the_job_with_a_remedy(folder: Path) -> None:
    session = EngineSession(ScriptedEngine(python=folder / "no" / "python"), folder / "run")
    job = session.submit(edit("steps 1", folder))
    assert session.poll() == [job]
    assert job.state is JobState.FAILED and job.error is not None
    assert job.error.code == "engine_missing" and "Install" in job.error.remedy
    assert session.state is EngineState.LOST


@posix
def test_an_engine_that_cannot_start_says_why(folder: Path) -> None:
    broken = folder / "python"
    broken.write_text("#!/bin/sh\necho no module named anything >&2\nexit 3\n")
    broken.chmod(0o755)
    session = EngineSession(ScriptedEngine(python=broken), folder / "run")
    job = session.submit(edit("steps 1", folder))
    finish(session, job)
    session.close()
    assert job.error is not None and job.error.code == "engine_lost"
    assert "exit code 3" in job.error.message
    assert "no module named anything" in job.error.details


@posix
def test_a_killed_engine_fails_its_jobs_and_the_next_one_gets_a_new_engine(
    session: EngineSession, folder: Path
) -> None:
    first, second = session.submit(edit("hang", folder)), session.submit(edit("hang", folder))
    running(session, first)
    killed = session.engine_pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    finish(session, first)
    for job in (first, second):
        assert job.state is JobState.FAILED and job.error is not None
        assert job.error.code == "engine_lost" and "SIGKILL" in job.error.message
        assert "Run the edit again" in job.error.remedy
        assert "listens at" in job.error.details
    assert session.state is EngineState.LOST
    again = session.submit(edit("steps 2", folder))
    finish(session, again)
    assert again.state is JobState.DONE
    assert session.engine_pid != killed


def test_an_engine_that_dies_leaves_its_last_words(session: EngineSession, folder: Path) -> None:
    job = session.submit(edit("exit 7", folder))
    finish(session, job)
    assert job.error is not None and job.error.code == "engine_lost"
    assert "exit code 7" in job.error.message
    assert "these are my last words" in job.error.details


@posix
def test_the_endpoint_of_a_dead_engine_is_no_obstacle(
    new_session: Callable[..., EngineSession], folder: Path
) -> None:
    old = new_session()
    endpoint = ready(old, folder)
    os.kill(endpoint.pid, signal.SIGKILL)
    until(lambda: is_gone(endpoint.pid), "the engine is dead")
    assert Endpoint.read(folder / "run") == endpoint
    new = new_session()
    job = new.submit(edit("steps 1", folder))
    finish(new, job)
    assert job.state is JobState.DONE and new.engine_pid != endpoint.pid
    assert not Path(endpoint.address.removeprefix("unix:")).exists()


def test_an_endpoint_where_someone_else_listens_is_no_obstacle(
    session: EngineSession, folder: Path
) -> None:
    """After a restart of the machine another program may have the port."""
    (folder / "run").mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        address = f"tcp:127.0.0.1:{squatter.getsockname()[1]}"
        Endpoint(address, secrets.token_bytes(TOKEN_BYTES), 1).write(folder / "run")
        job = session.submit(edit("steps 1", folder))
        session.poll()
        peer, _ = squatter.accept()
        peer.sendall(b"220 mail.example ESMTP\r\n")
        finish(session, job)
        peer.close()
    assert job.state is JobState.DONE


# How engines end


def serve(runtime: Path, owner_pid: int, **pipes: Any) -> subprocess.Popen[bytes]:
    command = ScriptedEngine()
    return subprocess.Popen(
        command.arguments(runtime, owner_pid),
        env=command.environment(),
        stderr=subprocess.DEVNULL,
        **pipes,
    )


def connected(runtime: Path) -> Stranger:
    endpoint = until(lambda: Endpoint.read(runtime), "the engine listens")
    return Stranger(endpoint).authenticated()


def test_the_end_of_its_input_ends_an_engine_even_with_a_stuck_job(folder: Path) -> None:
    engine = serve(folder / "run", os.getpid(), stdin=subprocess.PIPE)
    with closing(connected(folder / "run")) as client:
        client.call("job.submit", job="stuck", request=edit("hang", folder).to_json())
        client.wait_for("job.progress", job="stuck")
        assert engine.stdin is not None
        engine.stdin.close()
        assert engine.wait(GENEROUS_SECONDS) == 0
    assert list((folder / "run").iterdir()) == []


def test_an_owner_that_is_gone_ends_an_engine_whose_input_stays_open(folder: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    engine = serve(folder / "run", owner.pid, stdin=subprocess.PIPE)
    with closing(connected(folder / "run")):
        owner.kill()
        owner.wait()
        assert engine.wait(GENEROUS_SECONDS) == 0
    assert Endpoint.read(folder / "run") is None


@posix
def test_an_engine_does_not_outlive_a_killed_blender(folder: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from tests.scripted_engine import ScriptedEngine
from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.client.session import EngineSession
folder = Path(sys.argv[1])
session = EngineSession(ScriptedEngine(), folder / "run")
paths = {name: str(folder / name) for name in ("source", "output", "model")}
job = session.submit(EditRequest(prompt="steps 100000", **paths))
while job.progress is None:
    session.poll()
    time.sleep(0.01)
print(session.engine_pid, flush=True)
time.sleep(1000)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert not is_gone(pid)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    until(lambda: is_gone(pid), "the engine notices")
    assert Endpoint.read(folder / "run") is None


@posix
def test_a_termination_signal_ends_an_engine_cleanly(folder: Path) -> None:
    engine = serve(folder / "run", os.getpid(), stdin=subprocess.PIPE)
    connected(folder / "run").close()
    engine.terminate()
    assert engine.wait(GENEROUS_SECONDS) == 0
    assert list((folder / "run").iterdir()) == []


def test_closing_a_session_ends_its_engine_and_a_later_job_gets_another(
    session: EngineSession, folder: Path
) -> None:
    running(session, first := session.submit(edit("steps 100000", folder)))
    pid = session.engine_pid
    assert pid is not None
    session.close()
    assert first.state is JobState.CANCELLED and session.state is EngineState.STOPPED
    second = session.submit(edit("steps 1", folder))
    finish(session, second)
    assert second.state is JobState.DONE and session.engine_pid != pid
    until(lambda: is_gone(pid), "the first engine ends")


def test_an_engine_that_nobody_can_find_any_more_ends(folder: Path) -> None:
    first = serve(folder / "run", os.getpid(), stdin=subprocess.PIPE)
    old = until(lambda: Endpoint.read(folder / "run"), "the first engine listens")
    second = serve(folder / "run", os.getpid(), stdin=subprocess.PIPE)
    until(lambda: Endpoint.read(folder / "run") not in (old, None), "the second takes its place")
    assert first.wait(GENEROUS_SECONDS) == 0
    with closing(connected(folder / "run")) as client:
        assert "result" in client.call("shutdown")
    assert second.wait(GENEROUS_SECONDS) == 0


# Several Blenders


def test_two_blenders_have_an_engine_each(
    new_session: Callable[..., EngineSession], folder: Path
) -> None:
    sessions = [new_session("one"), new_session("two")]
    jobs = [session.submit(edit("steps 100000", folder)) for session in sessions]
    for session, job in zip(sessions, jobs, strict=True):
        running(session, job)
    assert sessions[0].engine_pid != sessions[1].engine_pid
    sessions[0].close()
    sessions[1].poll()
    assert jobs[0].state is JobState.CANCELLED and jobs[1].state is JobState.RUNNING


def test_a_second_session_uses_the_engine_that_runs_and_leaves_it_running(
    new_session: Callable[..., EngineSession], folder: Path
) -> None:
    first, second = new_session(), new_session()
    endpoint = ready(first, folder)
    job = second.submit(edit("steps 1", folder))
    finish(second, job)
    assert job.state is JobState.DONE and second.engine_pid == endpoint.pid
    second.close()
    again = first.submit(edit("steps 1", folder))
    finish(first, again)
    assert again.state is JobState.DONE and first.engine_pid == endpoint.pid
