"""Both sides of the authentication: each proves that it knows the token, then versions are told."""

from __future__ import annotations

import secrets

from .endpoint import Endpoint
from .errors import TokenFlowError
from .protocol import (
    NONCE_BYTES,
    PROTOCOL_VERSION,
    Message,
    ProtocolError,
    error_reply,
    notification,
    proof,
    proofs_equal,
    reply,
    request,
)

_AUTHENTICATE_ID = 1
_HELLO_ID = 2
FIRST_FREE_ID = 3
"""Request ids from here on are free for the client's own requests."""


class ClientHandshake:
    """Answers the engine's messages until both sides trust each other."""

    def __init__(self, endpoint: Endpoint, client_version: str) -> None:
        self._endpoint = endpoint
        self._client_version = client_version
        self._client_nonce = secrets.token_bytes(NONCE_BYTES)
        self._expected_proof: str | None = None
        self._trusted = False
        self.engine_version: str | None = None

    @property
    def finished(self) -> bool:
        return self.engine_version is not None

    def answer(self, message: Message) -> Message | None:
        """The next message to send, None when there is nothing left to say.

        Raises:
            ProtocolError: the engine broke the order or does not know the token.
            TokenFlowError: code "engine_missing", if the versions do not match.
        """
        if self._expected_proof is None:
            return self._authenticate(message)
        if not self._trusted:
            if message.get("id") != _AUTHENTICATE_ID or not proofs_equal(
                _result(message).get("proof"), self._expected_proof
            ):
                raise ProtocolError("the engine does not know the token")
            self._trusted = True
            return request(
                _HELLO_ID,
                "hello",
                {"protocol": PROTOCOL_VERSION, "client": self._client_version},
            )
        if message.get("id") != _HELLO_ID:
            raise ProtocolError("the engine did not answer hello")
        if "error" in message:
            raise error_from(message)
        if _result(message).get("protocol") != PROTOCOL_VERSION:
            raise version_mismatch(_result(message).get("protocol"), PROTOCOL_VERSION)
        self.engine_version = str(_result(message).get("engine"))
        return None

    def _authenticate(self, message: Message) -> Message:
        if message.get("method") != "challenge":
            raise ProtocolError("the engine did not begin with a challenge")
        params = _params(message)
        if params.get("protocol") != PROTOCOL_VERSION:
            raise version_mismatch(params.get("protocol"), PROTOCOL_VERSION)
        token, address = self._endpoint.token, self._endpoint.address
        nonces = (_nonce(params), self._client_nonce)
        self._expected_proof = proof(token, "engine", address, *nonces)
        return request(
            _AUTHENTICATE_ID,
            "authenticate",
            {
                "nonce": self._client_nonce.hex(),
                "proof": proof(token, "client", address, *nonces),
            },
        )


class EngineHandshake:
    """Lets a peer in once it has proved that it knows the token and speaks this protocol."""

    def __init__(self, endpoint: Endpoint, engine_version: str) -> None:
        self._endpoint = endpoint
        self._engine_version = engine_version
        self._engine_nonce = secrets.token_bytes(NONCE_BYTES)
        self._trusted = False
        self.finished = False

    def challenge(self) -> Message:
        return notification(
            "challenge", {"protocol": PROTOCOL_VERSION, "nonce": self._engine_nonce.hex()}
        )

    def answer(self, message: Message) -> Message:
        """The reply to send.

        Raises:
            ProtocolError: the peer broke the order or does not know the token.
        """
        expected = "hello" if self._trusted else "authenticate"
        request_id = message.get("id")
        if message.get("method") != expected or not isinstance(request_id, (int, str)):
            raise ProtocolError(f"the client did not send {expected!r}")
        params = _params(message)
        if not self._trusted:
            return reply(request_id, {"proof": self._own_proof(params)})
        if params.get("protocol") != PROTOCOL_VERSION:
            return error_reply(
                request_id, version_mismatch(PROTOCOL_VERSION, params.get("protocol"))
            )
        self.finished = True
        return reply(
            request_id,
            {
                "protocol": PROTOCOL_VERSION,
                "engine": self._engine_version,
                "pid": self._endpoint.pid,
            },
        )

    def _own_proof(self, params: Message) -> str:
        nonces = (self._engine_nonce, _nonce(params))
        expected = proof(self._endpoint.token, "client", self._endpoint.address, *nonces)
        if not proofs_equal(params.get("proof"), expected):
            raise ProtocolError("the client does not know the token")
        self._trusted = True
        return proof(self._endpoint.token, "engine", self._endpoint.address, *nonces)


def error_from(message: Message) -> TokenFlowError:
    """The error that an error reply carries."""
    error = message.get("error")
    if not isinstance(error, dict):
        raise ProtocolError("an error reply holds no error")
    data = error.get("data")
    if isinstance(data, dict):
        return TokenFlowError.from_json(data)
    return TokenFlowError("internal", str(error.get("message", "The engine refused a request.")))


def version_mismatch(engine: object, client: object) -> TokenFlowError:
    return TokenFlowError(
        "engine_missing",
        f"The engine speaks version {engine} of the protocol, the add-on version {client}.",
        "Install the engine again, so that both have the same version.",
    )


def _result(message: Message) -> Message:
    result = message.get("result")
    if not isinstance(result, dict):
        raise ProtocolError("the engine's reply holds no result")
    return result


def _params(message: Message) -> Message:
    params = message.get("params")
    if not isinstance(params, dict):
        raise ProtocolError("a message holds no parameters")
    return params


def _nonce(params: Message) -> bytes:
    try:
        nonce = bytes.fromhex(params["nonce"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError("a nonce is missing or malformed") from error
    if len(nonce) != NONCE_BYTES:
        raise ProtocolError("a nonce has the wrong length")
    return nonce
