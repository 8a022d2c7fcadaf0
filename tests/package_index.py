"""A package index on loopback that breaks off, refuses or spoils what it serves, on demand."""

from __future__ import annotations

import hashlib
import http.server
import re
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, filler: bytes = b"") -> Path:
    """A wheel of one module with a `version`; the filler makes it large."""
    info = f"{name}-{version.replace('+', '_')}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        if filler:
            wheel.writestr(f"{name}_filler.bin", filler)
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", about)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@dataclass
class PackageIndex:
    """Serves a folder of files; `requests` are (path, range) of those for files, HEADs left out.

    cut_after: bytes after which each answer breaks off, as often as `cuts` says.
    with_ranges: whether a part of a file can be asked for.
    spoil: answers that end in a wrong byte. password: whether files are kept from us.
    bytes_per_second: None for as fast as it goes.
    """

    folder: Path
    address: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    cut_after: int = 0
    cuts: int = 0
    with_ranges: bool = True
    spoil: int = 0
    password: bool = False
    bytes_per_second: int | None = None
    sent: int = 0

    def page(self, name: str) -> str:
        """The index's page for one package, as PEP 503 has it."""
        lines = []
        for path in sorted(self.folder.glob("*.whl")):
            if re.sub(r"[-_.]+", "-", path.name.partition("-")[0]).lower() == name:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                link = f"/files/{path.name.replace('+', '%2B')}#sha256={digest}"
                # PEP 658, as public indexes have it: pip reads this instead of the whole file.
                told = 'data-dist-info-metadata="true" data-core-metadata="true"'
                lines.append(f'<a href="{link}" {told}>{path.name}</a>')
        return "<!DOCTYPE html><html><body>" + "\n".join(lines) + "</body></html>"


class _Handler(http.server.BaseHTTPRequestHandler):
    index: PackageIndex

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        index = self.index
        parts = self.path.replace("%2B", "+").strip("/").split("/")
        if parts[0] == "simple":
            self._send(200, index.page(parts[1]).encode(), body, "text/html")
            return
        path = index.folder / parts[-1].removesuffix(".metadata")
        if path.is_file() and parts[-1].endswith(".metadata"):
            with zipfile.ZipFile(path) as wheel:
                (inside,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
                self._send(200, wheel.read(inside), body, "text/html")
            return
        if not path.is_file():
            self.send_error(404)
        elif index.password:
            self.send_error(401)
        else:
            self._send_file(path, body)

    def _send_file(self, path: Path, body: bool) -> None:
        index = self.index
        data = path.read_bytes()
        wanted = self.headers.get("Range", "")
        if body:
            index.requests.append((path.name, wanted))
        start = re.fullmatch(r"bytes=(\d+)-", wanted)
        if body and index.spoil:
            index.spoil -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        if start and index.with_ranges:
            self._send(206, data[int(start[1]) :], body, whole=len(data), first=int(start[1]))
        else:
            self._send(200, data, body)

    def _send(
        self,
        status: int,
        data: bytes,
        body: bool,
        kind: str = "application/octet-stream",
        *,
        whole: int = 0,
        first: int = 0,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
        self.end_headers()
        if not body:
            return
        index = self.index
        if kind != "text/html" and index.cuts and len(data) > index.cut_after:
            index.cuts -= 1
            data = data[: index.cut_after]
            self.close_connection = True
        block = len(data) if index.bytes_per_second is None else 1 << 16
        for at in range(0, len(data), max(1, block)):
            self.wfile.write(data[at : at + block])
            index.sent += len(data[at : at + block])
            if index.bytes_per_second is not None:
                time.sleep(block / index.bytes_per_second)


@contextmanager
def serving(index: PackageIndex) -> Iterator[PackageIndex]:
    """Serve until the end of the block; `index.address` is then that of its PEP 503 pages."""
    handler = type("Handler", (_Handler,), {"index": index})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    index.address = f"http://127.0.0.1:{server.server_port}/simple/"
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    # For a Blender, in which no thread may run: FOLDER; ends with the standard input.
    with serving(PackageIndex(Path(sys.argv[1]))) as served:
        print(served.address, flush=True)
        sys.stdin.read()
