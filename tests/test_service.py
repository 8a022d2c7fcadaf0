"""The socket of real engine processes: whom it trusts, what it answers.

The edit in them is scripted; `test_service_edit.py` runs the real one.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine_sessions import Stranger, edit, finish, posix, ready, until
from tokenflow_engine.client.endpoint import ENDPOINT_NAME, Endpoint
from tokenflow_engine.client.handshake import ClientHandshake
from tokenflow_engine.client.jobs import JobState
from tokenflow_engine.client.protocol import (
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    TOKEN_BYTES,
    encode,
    request,
)
from tokenflow_engine.client.session import EngineSession, EngineState

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
