"""Installs the engine for an installed add-on: a program that Blender starts and listens to.

    PYTHON install_engine.py FOLDER [--build cpu|cuda|metal] [--index URL] [--at-most BYTES]

Makes FOLDER/engine-HASH, named after the lock file, with the first Python of `ENGINE_PYTHONS` that
is found, and takes older engines away once the new one is complete. Killed at any moment it goes on
where it was when it is started again: files that have arrived are kept, and an environment counts
only with its stamp. It ends, with all that it started, when its standard input ends.

Each line it prints is a JSON object: {"progress": {stage, done, total}}, {"error": {code, message,
remedy, details}} or {"done": {...}}; anything else is a remark. Exit code 0 or 1.

Standard library only, and nothing newer than Python 3.9.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from environments import (
    ENGINE_PYTHONS,
    LOCKS,
    WHEELS,
    WINDOWS,
    Environment,
    Refusal,
    create,
    find_python,
    install,
    installed_engine,
    is_ready,
    lock_hashes,
    only_one,
    renew_pip,
    stamp,
)
from wheels import NotForUs, Wheel, fetch, resolve, unpack

_SECONDS_BETWEEN_MESSAGES = 0.2
_UNPACKED_PER_DOWNLOADED = 4.0
"""Disk that the unpacked packages take, per byte of their files; 1.9 GB for 0.4 GB on Linux."""


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


class Meter:
    """Says how many bytes of all have arrived, a few times a second."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._next = 0.0

    def gained(self, count: int) -> None:
        self._done += count
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_BETWEEN_MESSAGES
            stage("fetch", self._done, max(self._total, self._done))


def stage(name: str, done: int = 0, total: int = 0) -> None:
    say(progress={"stage": name, "done": done, "total": total})


def choose_python() -> tuple[str, list[str]]:
    """Version and command; Blender's own Python comes last, since it goes with its Blender.

    Raises:
        Refusal: there is none.
    """
    own = sys.executable
    for avoid in ((own,), ()):
        for version in ENGINE_PYTHONS:
            command = find_python(version, avoid)
            if command is not None:
                return version, command
    raise Refusal(
        f"The engine needs one of Python {', '.join(ENGINE_PYTHONS)}, and none was found on this "
        "machine. Install one from python.org, then try again."
    )


def options_of(build: str, index: str) -> list[tuple[str, ...]]:
    """What to ask pip for, the best first.

    Builds of torch are told apart by the local part of their version: 2.13.0+cpu is a build of
    2.13.0. An index that does not tell them apart serves one of them under the bare version.
    """
    extra = ("--extra-index-url", index) if index else ()
    if build != "cpu":
        return [extra]
    (torch,) = [
        line
        for line in (LOCKS / "engine.lock").read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    ] or [""]
    return [(*extra, f"{torch}+cpu"), extra] if torch else [extra]


def plan(environment: Environment, build: str, index: str) -> list[Wheel]:
    """The files to fetch, with the first wording that pip finds something for."""
    wordings = options_of(build, index)
    for options in wordings[:-1]:
        with contextlib.suppress(Refusal):
            return resolve(environment, options)
    return resolve(environment, wordings[-1])


def install_engine(folder: Path, build: str, index: str, at_most: int) -> None:
    """Make the environment complete; returns at once when it is."""
    environment = installed_engine(folder)
    files = folder / WHEELS
    with only_one(environment):
        if not is_ready(environment):
            stage("python")
            version, python = choose_python()
            environment = replace(environment, python=version, megabytes=200)
            create(environment, python)
            stage("resolve")
            renew_pip(environment)
            try:
                wheels = plan(environment, build, index)
                _agree(environment, wheels, at_most)
                files.mkdir(exist_ok=True)
                meter = Meter(sum(wheel.size for wheel in wheels))
                arrived = [fetch(wheel, files, meter.gained) for wheel in wheels]
                stage("unpack")
                unpack(environment, arrived)
            except NotForUs:
                # pip knows the user's passwords; what it fetches is fetched anew after a kill.
                stage("pip")
                install(environment, "engine", options_of(build, index)[-1])
            _try_out(environment)
            stamp(environment, lock_hashes(environment))
        _tidy(folder, environment)
    say(done={"python": str(environment.interpreter)})


def _agree(environment: Environment, wheels: list[Wheel], at_most: int) -> None:
    """Stop where the download is larger than the user was told, or than the disk."""
    total = sum(wheel.size for wheel in wheels)
    torch = next((f"torch {w.version}" for w in wheels if w.name == "torch"), "")
    say(plan={"bytes": total, "packages": len(wheels), "torch": torch})
    if at_most and total > at_most:
        _fail(
            "larger_than_told",
            f"The index offers a build of {total / 1e9:.1f} GB to download; "
            f"{at_most / 1e9:.1f} GB were expected.",
            "Install it all the same, or name an index with the smaller build.",
            str(total),
        )
    needed = int(total * (1 + _UNPACKED_PER_DOWNLOADED))
    free = shutil.disk_usage(environment.root).free
    if free < needed:
        raise Refusal(
            f'The engine needs about {needed / 1e9:.1f} GB in "{environment.root}" while it is '
            f"installed; {free / 1e9:.1f} GB are free. Free some space, then try again."
        )


def _try_out(environment: Environment) -> None:
    """Import what is largest and most often broken (a missing system library, a wrong build)."""
    if "torch==" not in (LOCKS / "engine.lock").read_text(encoding="utf-8"):
        return
    stage("try")
    said = subprocess.run(
        [str(environment.interpreter), "-I", "-c", "import torch, diffusers"],
        capture_output=True,
        text=True,
    )
    if said.returncode:
        raise Refusal(
            "The engine was installed but does not start. Copy the report and send it to the "
            "developers.",
            said.stderr[-4000:],
        )


def _tidy(folder: Path, keep: Environment) -> None:
    """Take away the fetched files and older engines; one that is still in use stays for now."""
    shutil.rmtree(folder / WHEELS, ignore_errors=True)
    for other in folder.glob("engine-*"):
        if other.name.partition(".")[0] != keep.name:
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    other.unlink()


def _fail(code: str, message: str, remedy: str = "", details: str = "") -> None:
    say(error={"code": code, "message": message, "remedy": remedy, "details": details})
    sys.exit(1)


def _end_with_owner() -> None:
    """End, children included, when standard input ends; the starter made this a group's head."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    if WINDOWS:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(os.getpid())], capture_output=True)
    elif os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--build", choices=("cpu", "cuda", "metal"), default="cpu")
    parser.add_argument("--index", default="")
    parser.add_argument("--at-most", type=int, default=0, metavar="BYTES")
    given = parser.parse_args()
    threading.Thread(target=_end_with_owner, daemon=True).start()
    try:
        given.folder.mkdir(parents=True, exist_ok=True)
        install_engine(given.folder.absolute(), given.build, given.index, given.at_most)
    except Refusal as refusal:
        sentence, _, remedy = refusal.sentence.partition(". ")
        _fail("engine_missing", f"{sentence.rstrip('.')}.", remedy, refusal.details)
    except OSError as error:
        where = f'"{error.filename}"' if error.filename else "the disk"
        _fail(
            "no_space" if error.errno == 28 else "internal",
            f"The engine could not be written to {where} ({error.strerror}).",
            "Free some space or check who may write there, then try again.",
            traceback.format_exc(),
        )


if __name__ == "__main__":
    main()
