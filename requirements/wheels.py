"""An environment's packages as files: asked for first, fetched so that nothing is fetched twice.

pip decides what is needed (`pip install --dry-run --report`, its installation report format 1) and
unpacks it. In between the files are fetched here, because pip starts a file of gigabytes anew when
it is interrupted, and tells other programs nothing of how far it is.

Standard library only, and nothing newer than Python 3.9.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from environments import (
    LOCKS,
    Environment,
    Refusal,
    constraint_options,
    follow,
    log_of,
    pip_install,
)

_BLOCK_BYTES = 1 << 18
_FRUITLESS_TRIES = 6
"""Attempts in a row that bring not one byte, before a file is given up."""
_SECONDS_WITHOUT_A_BYTE = 60.0
_REFUSED = (401, 403, 407)


class NotForUs(Exception):
    """The server wants a password, which pip may know."""


@dataclass(frozen=True)
class Wheel:
    """One file of a package index. size: bytes, 0 if the server does not say."""

    name: str
    version: str
    url: str
    sha256: str
    size: int = 0

    @property
    def file_name(self) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(self.url).path.rpartition("/")[2])

    @property
    def local(self) -> Path | None:
        """The file itself, where the index is a folder of this machine."""
        parts = urllib.parse.urlsplit(self.url)
        return Path(urllib.request.url2pathname(parts.path)) if parts.scheme == "file" else None


def resolve(environment: Environment, options: tuple[str, ...] = ()) -> list[Wheel]:
    """What pip would install of the environment's first lock, with its size.

    Raises:
        Refusal: pip finds no such set of packages, or no index.
        NotForUs: the files are behind a password.
    """
    report = environment.folder / "report.json"
    command = [*pip_install(environment), "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary", ":all:", "--report", str(report)]
    command += ["--requirement", str(LOCKS / f"{environment.layers[0]}.lock")]
    command += [*constraint_options(environment), *options]
    follow(command, environment, log_of(environment), "a")
    listed = json.loads(report.read_text(encoding="utf-8"))["install"]
    wheels = [
        Wheel(
            entry["metadata"]["name"],
            entry["metadata"]["version"],
            entry["download_info"]["url"],
            entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", ""),
        )
        for entry in listed
    ]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(_size, wheels))
    return [
        Wheel(w.name, w.version, w.url, w.sha256, size)
        for w, size in zip(wheels, sizes)  # noqa: B905 - Python 3.9 has no `strict`
    ]


def _size(wheel: Wheel) -> int:
    if wheel.local is not None:
        return wheel.local.stat().st_size
    request = urllib.request.Request(wheel.url, method="HEAD")
    try:
        with _open(request) as response:
            return int(response.headers.get("Content-Length") or 0)
    except urllib.error.HTTPError as error:
        if error.code in _REFUSED:
            raise NotForUs(str(error)) from error
        return 0
    except (OSError, http.client.HTTPException):
        # Fetching it will meet the same, and knows how to wait.
        return 0


def fetch(wheel: Wheel, folder: Path, gained: Callable[[int], None]) -> Path:
    """Bring a file into the folder, going on where an earlier attempt broke off.

    gained: called with the bytes that each block adds, also for what was there already; negative
        where a spoilt part is thrown away.

    Raises:
        Refusal: the server cannot be reached, the file is not what the index promised, or the disk
            is full.
        NotForUs: the server wants a password.
    """
    if wheel.local is not None:
        gained(wheel.local.stat().st_size)
        return wheel.local
    target = folder / wheel.file_name
    if target.is_file():
        gained(target.stat().st_size)
        return target
    part = target.with_name(f"{target.name}.part")
    if part.is_file():
        gained(part.stat().st_size)
    fruitless, spoilt = 0, False
    while True:
        before = part.stat().st_size if part.is_file() else 0
        reason = "the connection broke"
        try:
            complete = _append(wheel, part, gained)
        except urllib.error.HTTPError as error:
            if error.code in _REFUSED:
                raise NotForUs(str(error)) from error
            complete, reason = False, f"the server answers {error.code}"
        except http.client.HTTPException as error:
            complete, reason = False, str(error) or type(error).__name__
        except OSError as error:
            if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
                raise Refusal("The disk is full. Free some space, then try again.") from error
            # urllib's own errors are OSErrors as well, and so is each that a socket raises.
            complete, reason = False, str(getattr(error, "reason", error)) or type(error).__name__
        if complete:
            if not wheel.sha256 or _digest(part) == wheel.sha256:
                part.replace(target)
                return target
            gained(-part.stat().st_size)
            part.unlink()
            if spoilt:
                raise Refusal(
                    f"{wheel.file_name} arrived damaged twice. Try again later, or from another "
                    "network."
                )
            spoilt = True
            continue
        after = part.stat().st_size if part.is_file() else 0
        fruitless = 0 if after > before else fruitless + 1
        if fruitless == _FRUITLESS_TRIES:
            raise Refusal(
                f"{wheel.file_name} cannot be fetched: {reason}. Check the network, then try "
                "again; what has arrived is kept."
            )
        time.sleep(min(2**fruitless * 0.25, 10))


def _append(wheel: Wheel, part: Path, gained: Callable[[int], None]) -> bool:
    """Fetch from where the part ends; whether it is all there now."""
    have = part.stat().st_size if part.is_file() else 0
    if wheel.size and have >= wheel.size:
        return True
    request = urllib.request.Request(wheel.url, headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _open(request) as response:
        if have and response.status != 206:
            # A server without ranges sends all of it again.
            gained(-have)
            have = 0
        expected = have + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if have else "wb") as file:
            while block := response.read(_BLOCK_BYTES):
                file.write(block)
                gained(len(block))
    return part.stat().st_size >= (wheel.size or expected)


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    return urllib.request.urlopen(request, timeout=_SECONDS_WITHOUT_A_BYTE, context=_certificates())


@functools.lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    """The system's, or, for a Python that has none (Blender's on some systems), pip's own."""
    named = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    context = ssl.create_default_context(cafile=named if named and Path(named).is_file() else None)
    if not context.cert_store_stats()["x509_ca"] and not context.get_ca_certs():
        try:
            from pip._vendor import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def unpack(environment: Environment, files: list[Path]) -> None:
    """Install these files, and nothing else, into the environment."""
    command = [*pip_install(environment), "--quiet", "--no-index", "--no-deps"]
    follow([*command, *map(str, files)], environment, log_of(environment), "a")
