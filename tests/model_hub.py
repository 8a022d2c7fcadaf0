"""A model hub on loopback with one model, whose connection breaks on demand."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class ModelHub:
    """Serves a folder as one model; `requests` are (path, range) of GETs for files.

    cut_after: bytes after which an answer breaks off, as often as `cuts` says. gated: whether the
    model asks for a licence to be accepted. spoil: answers whose last byte is wrong.
    """

    folder: Path
    address: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    cut_after: int = 0
    cuts: int = 0
    gated: bool = False
    spoil: int = 0
    model_id: str = "studio/small"

    def about(self) -> dict[str, object]:
        siblings = []
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            content = path.read_bytes()
            entry: dict[str, object] = {
                "rfilename": path.relative_to(self.folder).as_posix(),
                "size": len(content),
                "blobId": hashlib.sha1(content).hexdigest(),
            }
            if path.suffix in (".safetensors", ".bin"):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {
            "id": self.model_id,
            "modelId": self.model_id,
            "sha": COMMIT,
            "cardData": {"license": "openrail"},
            "siblings": siblings,
            "tags": [],
        }


class _Handler(BaseHTTPRequestHandler):
    hub: ModelHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, body: bool) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        if path.startswith(f"/api/models/{hub.model_id}"):
            self._send(200, json.dumps(hub.about()).encode(), body, {})
            return
        file = hub.folder / path.removeprefix(f"/{hub.model_id}/resolve/{COMMIT}/")
        if hub.gated:
            self._send(403, b"", body, {"X-Error-Code": "GatedRepo"})
        elif not path.startswith(f"/{hub.model_id}/resolve/") or not file.is_file():
            self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})
        else:
            self._send_file(file, body)

    def _send_file(self, file: Path, body: bool) -> None:
        hub, data = self.hub, file.read_bytes()
        facts = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        wanted = self.headers.get("Range", "")
        if body:
            hub.requests.append((file.relative_to(hub.folder).as_posix(), wanted))
            if hub.spoil and file.suffix == ".safetensors":
                hub.spoil -= 1
                data = data[:-1] + bytes([data[-1] ^ 1])
        start = re.fullmatch(r"bytes=(\d+)-", wanted)
        if start:
            facts["Content-Range"] = f"bytes {start[1]}-{len(data) - 1}/{len(data)}"
            self._send(206, data[int(start[1]) :], body, facts)
        else:
            self._send(200, data, body, facts)

    def _send(self, status: int, data: bytes, body: bool, facts: dict[str, str]) -> None:
        hub = self.hub
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in facts.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        if "ETag" in facts and hub.cuts and len(data) > hub.cut_after:
            hub.cuts -= 1
            data = data[: hub.cut_after]
            self.close_connection = True
        self.wfile.write(data)


@contextmanager
def serving(hub: ModelHub) -> Iterator[ModelHub]:
    """Serve until the end of the block; `hub.address` is what HF_ENDPOINT takes."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def models_command(address: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """The last message of `tokenflow models ...` with the hub at an address, and besides "stderr"
    and "code"."""
    done = subprocess.run(
        [sys.executable, "-m", "tokenflow_engine", "models", "--messages", *arguments],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "HF_ENDPOINT": address, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert said, done.stdout + done.stderr
    return {**said[-1], "stderr": done.stderr, "code": done.returncode}


if __name__ == "__main__":
    # For a Blender, in which no thread may run: FOLDER; ends with the standard input.
    with serving(ModelHub(Path(sys.argv[1]))) as served:
        print(served.address, flush=True)
        sys.stdin.read()
