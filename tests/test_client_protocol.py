"""Frames, handshake, endpoint file and launcher, each without an engine."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tokenflow_engine.client import protocol
from tokenflow_engine.client.connection import Connection, ConnectionLost, PendingConnection
from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.client.endpoint import ENDPOINT_NAME, Endpoint, private_folder
from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.client.handshake import ClientHandshake, EngineHandshake
from tokenflow_engine.client.launcher import EngineCommand, rotate_logs
from tokenflow_engine.client.protocol import FrameDecoder, Message, ProtocolError
from tokenflow_engine.service.failures import failure_from
from tokenflow_engine.service.job_paths import checked_paths

posix = pytest.mark.skipif(sys.platform == "win32", reason="mode bits mean nothing on Windows")


def endpoint(token: bytes = b"t" * 32, address: str = "unix:somewhere") -> Endpoint:
    return Endpoint(address, token, os.getpid())


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def decoded(data: bytes) -> list[Message]:
    decoder = FrameDecoder()
    decoder.feed(data)
    return list(decoder.messages())


def test_messages_survive_being_cut_anywhere() -> None:
    sent = [
        protocol.notification("job.progress", {"phase": "edit", "words": "schön \u2603 \udcff"}),
        protocol.request(7, "job.status", {"job": "a"}),
    ]
    data = b"".join(protocol.encode(message) for message in sent)
    decoder, received = FrameDecoder(), []
    for n in range(len(data)):
        decoder.feed(data[n : n + 1])
        received += list(decoder.messages())
    assert received == sent


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", protocol.MAX_FRAME_BYTES + 1),
        struct.pack(">I", 0),
        frame(b"{"),
        frame(b"\xff\xfe{}"),
        frame(b"[]"),
        frame(b'[{"jsonrpc": "2.0", "method": "a"}]'),
        frame(b'{"method": "no version"}'),
        frame(b'{"jsonrpc": "2.0", "x": NaN}'),
        frame(b"[" * 200_000),
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_frame_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(data)


def test_a_message_that_is_too_large_or_not_json_is_never_sent() -> None:
    for params in ({"x": "x" * protocol.MAX_FRAME_BYTES}, {"x": float("nan")}, {"x": object()}):
        with pytest.raises(ProtocolError):
            protocol.encode(protocol.request(1, "a", params))


def exchange(client: ClientHandshake, engine: EngineHandshake) -> None:
    message: Message | None = engine.challenge()
    while message is not None and not client.finished:
        answer = client.answer(message)
        message = None if answer is None else engine.answer(answer)


def test_both_sides_trust_each_other_after_the_handshake() -> None:
    client, engine = ClientHandshake(endpoint(), "0.1"), EngineHandshake(endpoint(), "0.2")
    exchange(client, engine)
    assert engine.finished and client.finished
    assert client.engine_version == "0.2"


@pytest.mark.parametrize(
    "other",
    [endpoint(token=b"u" * 32), endpoint(address="tcp:127.0.0.1:1")],
    ids=["another token", "another socket"],
)
def test_the_engine_refuses_another_token_and_a_proof_for_another_socket(other: Endpoint) -> None:
    engine = EngineHandshake(endpoint(), "0")
    with pytest.raises(ProtocolError, match="client does not know the token"):
        exchange(ClientHandshake(other, "0"), engine)
    assert not engine.finished


def test_the_client_refuses_an_engine_that_only_echoes() -> None:
    """A squatter that knows no token can at best send the client's own proof back."""
    client = ClientHandshake(endpoint(), "0")
    answer = client.answer(EngineHandshake(endpoint(), "0").challenge())
    assert answer is not None
    with pytest.raises(ProtocolError, match="engine does not know the token"):
        client.answer(protocol.reply(answer["id"], {"proof": answer["params"]["proof"]}))


@pytest.mark.parametrize("method", ["hello", "job.submit", "shutdown", "challenge"])
def test_nothing_comes_before_authentication(method: str) -> None:
    with pytest.raises(ProtocolError, match="authenticate"):
        EngineHandshake(endpoint(), "0").answer(protocol.request(1, method))


def test_versions_that_do_not_match_are_told_in_words() -> None:
    challenge = EngineHandshake(endpoint(), "0").challenge()
    challenge["params"]["protocol"] = 99
    with pytest.raises(TokenFlowError, match="version 99 of the protocol") as caught:
        ClientHandshake(endpoint(), "0").answer(challenge)
    assert caught.value.code == "engine_missing"
    assert "Install the engine again" in caught.value.remedy


def test_a_connection_says_when_the_other_side_is_gone() -> None:
    ours, theirs = socket.socketpair()
    ends = Connection(ours), Connection(theirs)
    ends[1].send(protocol.notification("last words"))
    ends[1].close()
    received = []
    with pytest.raises(ConnectionLost):
        received += [message["method"] for message in [next(ends[0].receive())]]
        list(ends[0].receive())
    assert received == ["last words"]
    ends[0].close()


def test_a_connection_keeps_what_the_socket_does_not_take() -> None:
    ours, theirs = socket.socketpair()
    sender, receiver = Connection(ours), Connection(theirs)
    sent = [protocol.notification("n", {"n": n, "pad": "x" * 10_000}) for n in range(200)]
    for message in sent:
        sender.send(message)
    assert sender.unsent_bytes > 0
    received: list[Message] = []
    while len(received) < len(sent):
        received += receiver.receive()
        sender.flush()
    assert received == sent
    sender.close()
    receiver.close()


@pytest.mark.parametrize("address", ["", "unix:", "tcp:10.0.0.1:80", "tcp:127.0.0.1:x", "http://x"])
def test_only_local_addresses_are_connected_to(address: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        PendingConnection(address)


def test_an_endpoint_is_read_as_written_and_removed_only_by_its_own_engine(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "runtime")
    assert Endpoint.read(folder) is None
    old, new = endpoint(), endpoint(b"u" * 32)
    old.write(folder)
    new.write(folder)
    assert Endpoint.read(folder) == new
    old.remove(folder)
    assert Endpoint.read(folder) == new
    new.remove(folder)
    assert list(folder.iterdir()) == []
    assert "uuuu" not in repr(new)


@posix
def test_endpoint_and_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    loose = tmp_path / "runtime"
    loose.mkdir(mode=0o755)
    folder = private_folder(loose)
    assert folder.stat().st_mode & 0o777 == 0o700
    path = endpoint().write(folder)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert Endpoint.read(folder) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"address": 1, "token": "00", "pid": 1}', '{"address": "unix:x"}'],
)
def test_a_broken_endpoint_file_counts_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / ENDPOINT_NAME
    path.write_text(content)
    path.chmod(0o600)
    assert Endpoint.read(tmp_path) is None


def test_a_runtime_folder_that_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(TokenFlowError, match="cannot be used"):
        private_folder(path)


def test_the_engines_environment_is_free_of_blenders_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "blender's")
    monkeypatch.setenv("PYTHONPATH", "blender's")
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = EngineCommand(tmp_path / "python", tmp_path).environment()
    assert environment["PYTHONPATH"] == str(tmp_path)
    assert "PYTHONHOME" not in environment and "PYTHONNOUSERSITE" not in environment
    assert environment["OMP_NUM_THREADS"] == "3"


def test_an_interpreter_that_is_a_link_stays_a_link(tmp_path: Path) -> None:
    """A virtual environment is recognised by the path through which its Python is called."""
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    arguments = EngineCommand(link, tmp_path).arguments(tmp_path / "runtime", 42)
    assert arguments[0] == str(link)
    assert arguments[1:4] == ["-m", "tokenflow_engine", "serve"]
    assert arguments[arguments.index("--owner-pid") + 1] == "42"


def test_the_logs_of_the_last_five_starts_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "engine.log"
    for n in range(8):
        rotate_logs(log)
        log.write_text(str(n))
    kept = {path.name: path.read_text() for path in log.parent.iterdir()}
    assert kept == {
        "engine.log": "7",
        "engine.1.log": "6",
        "engine.2.log": "5",
        "engine.3.log": "4",
        "engine.4.log": "3",
    }


def paths_of(tmp_path: Path, **changes: str) -> EditRequest:
    values = {"source": str(tmp_path / "source"), "output": str(tmp_path / "output"), **changes}
    return EditRequest.from_json({"prompt": "a", **values})


def test_job_paths_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    request = paths_of(tmp_path, output=str(tmp_path / "link" / ".." / "real" / "out"))
    checked = checked_paths(request, tmp_path / "runtime")
    assert checked.output == str((tmp_path / "real" / "out").resolve())


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "relative"},
        {"output": "relative"},
        {"model": "someone/model"},
        {"output": "{tmp}/file"},
        {"output": "{tmp}/file/below"},
        {"output": "{tmp}/source"},
        {"output": "{tmp}"},
        {"output": "/"},
        {"output": "{tmp}/runtime"},
        {"output": "{tmp}/runtime/deep/inside"},
        {"output": "{tmp}/link_to_runtime"},
        {"output": "{package}/models/embedded"},
        {"trajectory": "{tmp}/file"},
        {"trajectory": "{tmp}/runtime/t.safetensors"},
        {"trajectory": "{package}/models/embedded/unet/t.safetensors"},
        {"model": "{tmp}/model", "trajectory": "{tmp}/model/unet/t.safetensors"},
    ],
    ids=str,
)
def test_a_job_may_not_write_where_it_has_no_business(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "runtime").mkdir()
    (tmp_path / "link_to_runtime").symlink_to(tmp_path / "runtime")
    package = Path(protocol.__file__).resolve().parents[1]
    filled = {
        name: text.replace("{tmp}", str(tmp_path)).replace("{package}", str(package))
        for name, text in changes.items()
    }
    with pytest.raises(TokenFlowError) as caught:
        checked_paths(paths_of(tmp_path, **filled), tmp_path / "runtime")
    assert caught.value.code == "bad_request"


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (OutOfMemoryError("CUDA"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 12 bytes"), "out_of_memory"),
        (RuntimeError("MPS backend out of memory"), "out_of_memory"),
        (OSError(28, "No space left on device"), "no_space"),
        (ModuleNotFoundError("No module named 'torch'"), "engine_missing"),
        (TokenFlowError("unknown_model", "m", "r"), "unknown_model"),
        (KeyError("x"), "internal"),
        (SystemExit(3), "internal"),
    ],
    ids=repr,
)
def test_every_exception_becomes_an_error_a_user_can_read(error: BaseException, code: str) -> None:
    failure = failure_from(error)
    assert failure.code == code
    assert failure.message and failure.remedy
    assert json.loads(json.dumps(failure.to_json()))["code"] == code


def test_a_request_names_its_pictures_by_their_format_and_refuses_others() -> None:
    request = EditRequest("clip", "a blue ball", "out")
    assert (request.picture_name(7), request.source_depth) == ("00007.png", 8)
    deep = replace(request, picture_format="png16")
    assert (deep.picture_name(7), deep.source_depth) == ("00007.png", 16)
    half = EditRequest.from_json({**request.to_json(), "picture_format": "exr"})
    assert (half.picture_name(7), half.source_depth) == ("00007.exr", 16)
    for name, wrong in (("picture_format", "jpeg"), ("result_size", "huge")):
        with pytest.raises(TokenFlowError, match=wrong):
            replace(request, **{name: wrong}).validated()
