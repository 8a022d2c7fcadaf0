"""Jobs of real engine processes with a scripted edit: order, progress, cancelling, memory."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine_sessions import Stranger, edit, finish, ready, running, until
from tokenflow_engine.client.endpoint import Endpoint
from tokenflow_engine.client.jobs import Job, JobState
from tokenflow_engine.client.session import EngineSession, EngineState


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
