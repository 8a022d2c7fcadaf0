"""The engine's installation with real pip, real environments and an index that misbehaves."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from package_index import PackageIndex, serving, write_wheel

FILLER = 3_000_000
PROGRAMS = ("environments.py", "wheels.py", "install_engine.py")
STAMP = "tokenflow-locks.json"


class Installation:
    """A copy of the installing programs with a lock file of its own, and where they install to."""

    def __init__(self, root: Path, real: Path, index: PackageIndex) -> None:
        self.programs = root / "requirements"
        self.programs.mkdir()
        for name in PROGRAMS:
            shutil.copy(real / "requirements" / name, self.programs)
        self.folder = root / "engine"
        self.index = index
        (self.programs / "engine-cuda.lock").write_text("")
        self.lock("grass==1.0", "torch==2.0")

    def lock(self, *pins: str) -> None:
        (self.programs / "engine.lock").write_text("\n".join(pins) + "\n")

    def start(self, *options: str, **variables: str) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHONPATH"))}
        alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": self.index.address}
        alone["PIP_NO_CACHE_DIR"] = "1"
        return subprocess.Popen(
            [sys.executable, str(self.programs / "install_engine.py"), str(self.folder), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**kept, **alone, "TOKENFLOW_PYTHON_3_11": sys._base_executable, **variables},
            start_new_session=True,
        )

    def run(self, *options: str, **variables: str) -> dict[str, list[Any]]:
        """All messages by their kind."""
        return listen(self.start(*options, **variables))

    def engines(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob(f"*/{STAMP}"))

    def version_of(self, name: str) -> str:
        (engine,) = self.engines()
        inside = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
        return subprocess.run(
            [self.folder / engine / inside, "-c", f"import {name}; print({name}.version)"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.strip()

    def asked_for(self, name: str) -> list[str]:
        """The ranges in which a package's file was asked for."""
        return [part for path, part in self.index.requests if path.startswith(f"{name}-")]


def listen(process: subprocess.Popen[str]) -> dict[str, list[Any]]:
    """What it says until it ends; its standard input stays open, as Blender keeps it."""
    assert process.stdout is not None
    said = messages(process.stdout.read())
    process.wait(timeout=60)
    return said


def messages(said: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"progress": [], "plan": [], "error": [], "done": []}
    for line in said.splitlines():
        if line.startswith("{"):
            for kind, value in json.loads(line).items():
                found[kind].append(value)
    if not found["done"] and not found["error"]:
        print(said)
    return found


@pytest.fixture
def small(tmp_path: Path, checkout: Path) -> Iterator[Installation]:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "grass", "1.0", random.Random(0).randbytes(FILLER))
    write_wheel(wheels, "grass", "2.0")
    # What the engine is tried out with after it has been unpacked.
    write_wheel(wheels, "torch", "2.0")
    write_wheel(wheels, "torch", "2.0+cpu")
    write_wheel(wheels, "diffusers", "1.0")
    with serving(PackageIndex(wheels)) as index:
        made = Installation(tmp_path, checkout, index)
        made.lock("grass==1.0", "torch==2.0", "diffusers==1.0")
        yield made


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_engine_is_installed_after_its_size_is_agreed_to(small: Installation) -> None:
    said = small.run("--build", "cpu", "--at-most", "1000000")
    (error,) = said["error"]
    assert error["code"] == "larger_than_told" and int(error["details"]) > FILLER
    assert not (small.folder / "wheels").exists() and not small.engines()

    said = small.run("--build", "cpu", "--at-most", error["details"])
    assert not said["error"], said
    (plan,) = said["plan"]
    assert plan["packages"] == 3 and plan["bytes"] > FILLER
    assert plan["torch"] == "torch 2.0+cpu", "the build for machines without a GPU"
    fetched = [p for p in said["progress"] if p["stage"] == "fetch"]
    assert {p["total"] for p in fetched} == {plan["bytes"]}
    stages = list(dict.fromkeys(p["stage"] for p in said["progress"]))
    assert stages == ["python", "resolve", "fetch", "unpack", "try"]
    assert small.version_of("grass") == "1.0" and small.version_of("torch") == "2.0+cpu"
    assert not (small.folder / "wheels").exists(), "nothing of the download is left"
    small.index.requests.clear()
    assert small.run("--build", "cpu")["done"] and not small.index.requests


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_midway_it_goes_on_with_what_has_arrived(small: Installation) -> None:
    small.index.bytes_per_second = 2_000_000
    process = small.start()
    part = small.folder / "wheels" / "grass-1.0-py3-none-any.whl.part"
    wait_for(lambda: part.is_file() and part.stat().st_size > 500_000, "a part of the file")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    have = part.stat().st_size
    assert not small.engines(), "what is half made never looks finished"
    small.index.bytes_per_second = None
    assert small.run()["done"]
    assert small.asked_for("grass")[-1] == f"bytes={have}-"
    assert small.version_of("grass") == "1.0"


def test_it_ends_with_its_children_when_its_owner_is_gone(small: Installation) -> None:
    process = small.start()
    parent = psutil.Process(process.pid)
    wait_for(lambda: bool(parent.children()), "a child")
    family = [parent, *parent.children(recursive=True)]
    assert process.stdin is not None
    process.stdin.close()
    _gone, alive = psutil.wait_procs(family, timeout=60)
    assert not alive and not small.engines()


def test_old_engine_works_until_the_new_one_is_complete(small: Installation) -> None:
    small.lock("grass==2.0")
    assert small.run()["done"]
    before = small.engines()
    small.lock("grass==3.0")
    (error,) = small.run()["error"]
    assert error["remedy"] and "grass==3.0" in error["details"], "pip's own words"
    assert small.engines() == before and small.version_of("grass") == "2.0"
    small.lock("torch==2.0")
    (error,) = small.run()["error"]
    assert "does not start" in error["message"] and "diffusers" in error["details"]
    assert small.engines() == before
    small.lock("torch==2.0", "diffusers==1.0")
    assert small.run("--build", "cuda")["done"]
    assert small.engines() != before and small.version_of("torch").startswith("2.0")
