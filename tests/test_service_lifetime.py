"""How real engine processes begin, die, are found and end; the edit in them is scripted."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.engine_sessions import (
    GENEROUS_SECONDS,
    connected,
    edit,
    finish,
    is_gone,
    posix,
    ready,
    running,
    until,
)
from tests.scripted_engine import ROOT, ScriptedEngine
from tokenflow_engine.client.endpoint import Endpoint
from tokenflow_engine.client.jobs import JobState
from tokenflow_engine.client.protocol import TOKEN_BYTES
from tokenflow_engine.client.session import EngineSession, EngineState

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
