"""The wire between Blender and the engine: JSON-RPC 2.0 in length-prefixed frames.

A frame is a 4-byte big-endian length followed by that many bytes of UTF-8 JSON, one object each.
In order, on one connection:

    engine -> client   challenge {protocol, nonce}                      (notification)
    client -> engine   authenticate {nonce, proof}    -> {proof}
    client -> engine   hello {protocol, client}       -> {protocol, engine, pid}
    client -> engine   any of the requests below, in any order

    capabilities {probe?}                    -> {editors, modes, dtypes, models, devices}
    models.list {folders?}                   -> {models: [{id, title, path}]}
    job.submit {job, request}                -> {job, state, position}
    job.cancel {job}                         -> {job, state, cancel_requested}
    job.status {job?, subscribe?}            -> one job's description, or {jobs: [...]}
    shutdown {}                              -> {}

    job.state {job, state}                                              (notifications)
    job.progress {job, phase, done, total, eta_seconds}
    job.done {job, result}
    job.failed {job, code, message, remedy, details}
    job.preview                              reserved for pictures of a running edit

Whatever breaks this order or form ends that connection and nothing else. A request that is well
formed but cannot be met gets an error object whose `data` is a `TokenFlowError`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from typing import Any, Literal

from .errors import TokenFlowError

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 1 << 20
"""Largest JSON text in one frame; frames and latents travel by path, never by message."""

TOKEN_BYTES = 32
NONCE_BYTES = 32

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
SERVER_ERROR = -32000

_LENGTH = struct.Struct(">I")

Message = dict[str, Any]


class ProtocolError(Exception):
    """The peer broke the protocol; its connection must be closed."""


def encode(message: Message) -> bytes:
    """One frame, ready to send.

    Raises:
        ProtocolError: the message is larger than `MAX_FRAME_BYTES` or is not JSON.
    """
    try:
        body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"the message is not JSON: {error}") from error
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"the message has {len(body)} bytes; {MAX_FRAME_BYTES} are allowed")
    return _LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Turns a byte stream, cut anywhere, into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def messages(self) -> Iterator[Message]:
        """Yield every complete message received so far.

        Raises:
            ProtocolError: a frame is empty, too large, not UTF-8, not JSON or not a JSON-RPC 2.0
                object. The length is judged before the body arrives, so that no peer can make
                the receiver store more than it may send.
        """
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if not 0 < length <= MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame announces {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _parse(body)


def _parse(body: bytes) -> Message:
    try:
        message = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a frame does not hold JSON") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise ProtocolError("a frame does not hold a JSON-RPC 2.0 object")
    return message


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def request(request_id: int, method: str, params: Message | None = None) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}}


def notification(method: str, params: Message | None = None) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": params or {}}


def reply(request_id: int | str | None, result: Message) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_reply(
    request_id: int | str | None, error: TokenFlowError, code: int = SERVER_ERROR
) -> Message:
    return {
        "jsonrpc": "2.0",
        "id": request_id,
        "error": {"code": code, "message": error.message, "data": error.to_json()},
    }


def proof(
    token: bytes,
    role: Literal["client", "engine"],
    address: str,
    engine_nonce: bytes,
    client_nonce: bytes,
) -> str:
    """HMAC-SHA256 that shows knowledge of the token, as hexadecimal text.

    The role keeps one side's proof from being sent back as the other's; the address keeps a proof
    made for one socket from being relayed to another.
    """
    content = b"\0".join(
        (
            f"tokenflow-edit protocol {PROTOCOL_VERSION}".encode(),
            role.encode(),
            address.encode("utf-8", "surrogateescape"),
            engine_nonce.hex().encode(),
            client_nonce.hex().encode(),
        )
    )
    return hmac.new(token, content, hashlib.sha256).hexdigest()


def proofs_equal(received: object, expected: str) -> bool:
    """Compare in constant time; anything but text is unequal."""
    return isinstance(received, str) and hmac.compare_digest(
        received.encode("utf-8", "surrogatepass"), expected.encode()
    )
