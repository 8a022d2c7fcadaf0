"""The ffmpeg program that the engine carries, and what goes wrong when it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg

from ..client.errors import TokenFlowError

QUIET = ("-hide_banner", "-nostdin", "-nostats")
"""`-nostdin` matters: ffmpeg would otherwise swallow the bytes of the engine's own input pipe."""


def executable() -> str:
    """Path of the ffmpeg program.

    Raises:
        TokenFlowError: code "engine_missing", when the environment has none.
    """
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise TokenFlowError(
            "engine_missing",
            "The engine's environment has no ffmpeg.",
            "Set the engine's environment up again.",
            str(error),
        ) from error


def movie_input(source: Path) -> list[str]:
    """Input arguments for one movie file, whatever its name looks like.

    The `file:` prefix keeps names such as `-x.mp4` or `a:b.mp4` from being read as options or
    protocols; the whitelist keeps a playlist from reaching out to the network.
    """
    return ["-protocol_whitelist", "file", "-i", f"file:{source}"]


def start(arguments: list[str], **pipes: int | None) -> subprocess.Popen[bytes]:
    """Start ffmpeg with `arguments`; `pipes` are Popen's stdin, stdout and stderr."""
    return subprocess.Popen(
        [executable(), *QUIET, *arguments],
        stdin=pipes.get("stdin", subprocess.DEVNULL),
        stdout=pipes.get("stdout"),
        stderr=pipes.get("stderr"),
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0) if sys.platform == "win32" else 0,
    )


def run(arguments: list[str], given: bytes | None = None) -> tuple[int, bytes, str]:
    """Run ffmpeg to its end; return its exit status, standard output and standard error.

    given: what it reads on its standard input.
    """
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    process = start(arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, said = process.communicate(given)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.returncode, out, said.decode(errors="replace")
