#!/usr/bin/env python3
"""Everything a checkout can do, each in the environment it needs.

    python3 run.py demo                the whole way, once: strip in, edited strip out (out/demo/)
    python3 run.py test [PYTEST ...]   lint, types and all tests; with arguments only those tests
    python3 run.py tokenflow ...       the engine's command line (edit, serve, doctor, farm)
    python3 run.py python ...          a script or -m MODULE in the engine's environment
    python3 run.py lint                ruff and mypy
    python3 run.py package [FOLDER]    the zip that Blender installs, and a repository (dist/)
    python3 run.py setup [--all]       make the engine's environment (--all: those of the tests too)

Environments are made on first use under .envs/ (elsewhere: TOKENFLOW_ENVS), again when their lock
file changes. Any Python from 3.9 on can start this file; the engine needs 3.11, which is looked for
in the usual places (or named by TOKENFLOW_PYTHON_3_11). pip's own settings apply.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from package import describe, package
from requirements.environments import (
    BLENDER_MODULES,
    ENGINE,
    FARM,
    TESTED_ENGINE,
    WINDOWS,
    Refusal,
    ensure,
    is_ready,
    say,
    unavailable,
)

ROOT = Path(__file__).resolve().parent
ONE_WORKERS = (["step"], ["engine"])
"""Commands of `tokenflow farm` that the engine's environment runs; the others need the farm's."""


def blender_program() -> str | None:
    """The Blender that BLENDER names or the search path has, when it is 4.5 or newer."""
    program = os.environ.get("BLENDER") or shutil.which("blender")
    if not program:
        return None
    said = ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run(
            [program, "-b", "--version"], capture_output=True, text=True, timeout=120
        ).stdout
    version = re.search(r"Blender (\d+)\.(\d+)", said)
    if version and (int(version[1]), int(version[2])) >= (4, 5):
        return program
    say(f'"{program}" is no Blender of version 4.5 or newer that runs here: going on without it.')
    return None


def engine_variables(interpreter: Path) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(ROOT), inherited] if inherited else [str(ROOT)])
    return {
        # Where cores are shared, threads that spin while they wait cost up to ten times the work.
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "TOKENFLOW_ENGINE_PYTHON": str(interpreter),
        "PYTHONPATH": path,
    }


def become(command: list[str], variables: dict[str, str]) -> NoReturn:
    """Go on as another program, so that signals and the exit status are its own."""
    sys.stdout.flush()
    if not WINDOWS:
        os.execve(command[0], command, variables)
    sys.exit(subprocess.run(command, env=variables).returncode)


def lint(interpreter: Path) -> int:
    for step in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        say(f"== {' '.join(step)}")
        status = subprocess.run([str(interpreter), "-m", *step], cwd=ROOT).returncode
        if status:
            return status
    return check_addon_types(interpreter)


def check_addon_types(interpreter: Path) -> int:
    """mypy on what runs in Blender, under the package name that its relative imports need.

    Blender ships no types: whatever comes out of bpy is Any, and its properties stand where
    annotations do.
    """
    names = ("installation", "operators", "panels", "sequencer")
    rooms = [f"tokenflow_edit.{room}" for room in names]
    options = ["--ignore-missing-imports", "--disallow-untyped-defs", "--check-untyped-defs"]
    options += ["--follow-imports", "silent", "--disable-error-code", "valid-type"]
    say(f"== mypy {' '.join(rooms)}")
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "tokenflow_edit"
        try:
            link.symlink_to(ROOT, target_is_directory=True)
        except OSError:
            say("Skipped: this system lets nobody make the link that it needs.")
            return 0
        packages = [part for room in rooms for part in ("-p", room)]
        command = [str(interpreter), "-m", "mypy", "--config-file="]
        command += ["--cache-dir", str(ROOT / ".mypy_cache" / "addon"), *options, *packages]
        return subprocess.run(command, cwd=folder).returncode


def ensure_all() -> None:
    """Make every environment of the tests that can be had here, two at a time."""
    wanted = [TESTED_ENGINE, *BLENDER_MODULES.values(), FARM]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for _ in pool.map(ensure, [each for each in wanted if unavailable(each) is None]):
            pass


def test(arguments: list[str]) -> NoReturn:
    """Everything without arguments; with arguments only those tests, with what is there already.

    Everything runs in as many processes as there are cores, four at most, a thread and one file of
    tests at a time each.
    """
    if not arguments:
        ensure_all()
    interpreter = ensure(TESTED_ENGINE)
    variables = engine_variables(interpreter)
    for version, environment in BLENDER_MODULES.items():
        name = f"TOKENFLOW_BPY_{version.replace('.', '_')}"
        reason = unavailable(environment)
        if reason is None and arguments and not is_ready(environment):
            reason = f"{environment.name} is not made yet; `run.py test` without arguments does"
        if reason is None:
            variables[name] = str(ensure(environment))
        else:
            variables[f"{name}_MISSING"] = reason
            say(f"Tests in Blender {version} will be skipped: {reason}.")
    reason = unavailable(FARM)
    if reason is None and arguments and not is_ready(FARM):
        reason = "it is not made yet; `run.py test` without arguments does"
    if reason is None:
        variables["TOKENFLOW_FARM_PYTHON"] = str(ensure(FARM))
    else:
        variables["TOKENFLOW_FARM_PYTHON_MISSING"] = reason
        say(f"Tests of the render farm will be skipped: {reason}.")
    variables.pop("BLENDER", None)
    blender = blender_program()
    if blender:
        variables["BLENDER"] = blender
    if not arguments:
        status = lint(interpreter)
        if status:
            say("ruff or mypy found something; the tests were not run.")
            sys.exit(status)
        say("== pytest")
        processes = min(4, os.cpu_count() or 1)
        arguments = ["-n", str(processes), "--dist", "loadfile"]
        variables.setdefault("OMP_NUM_THREADS", "1")
    os.chdir(ROOT)
    become([str(interpreter), "-m", "pytest", *arguments], variables)


def demo(arguments: list[str]) -> NoReturn:
    interpreter = ensure(ENGINE)
    blender = blender_program() if os.environ.get("BLENDER") else None
    if blender:
        host = ["--blender", blender]
    else:
        environment = BLENDER_MODULES["5.0"]
        reason = unavailable(environment)
        if reason:
            raise Refusal(f"The demo needs a Blender, but {reason}. Set BLENDER to its program.")
        host = ["--bpy-python", str(ensure(environment))]
    become([str(interpreter), "-m", "demo", *host, *arguments], engine_variables(interpreter))


def setup(arguments: list[str]) -> None:
    everything = "--all" in arguments
    if everything:
        ensure_all()
    interpreter = ensure(TESTED_ENGINE if everything else ENGINE)
    for environment in (*BLENDER_MODULES.values(), FARM) if everything else ():
        reason = unavailable(environment)
        if reason:
            say(f"Left out {environment.name}: {reason}.")
        else:
            ensure(environment)
    say(f"The engine's Python: {interpreter}")


def main(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if command == "demo":
        demo(rest)
    elif command == "test":
        test(rest)
    elif command == "tokenflow" and rest[:1] == ["farm"] and rest[1:2] not in ONE_WORKERS:
        variables = engine_variables(ensure(ENGINE))
        interpreter = ensure(FARM)
        become([str(interpreter), "-m", "tokenflow_engine", *rest], variables)
    elif command in ("tokenflow", "python"):
        interpreter = ensure(ENGINE)
        module = ["-m", "tokenflow_engine"] if command == "tokenflow" else []
        become([str(interpreter), *module, *rest], engine_variables(interpreter))
    elif command == "lint":
        return lint(ensure(TESTED_ENGINE))
    elif command == "package":
        describe(package(Path(rest[0] if rest else ROOT / "dist").absolute()))
    elif command == "setup":
        setup(rest)
    else:
        print(__doc__)
        return 0 if command in ("help", "-h", "--help") else 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(7)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
