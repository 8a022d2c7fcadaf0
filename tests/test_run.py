"""`run.py` and the environments it makes, with real interpreters, real pip and tiny packages."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from requirements import environments

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="makes environments of Python 3.11"
)

BUILD = """
from requirements.environments import Environment, Refusal, ensure
import sys
try:
    print("at", ensure(Environment("small", "3.11", tuple(sys.argv[1:]), 20)))
except Refusal as refusal:
    sys.exit(f"REFUSED {refusal}")
"""


class SmallCheckout:
    """A checkout whose lock files ask for packages that were made on the spot."""

    def __init__(self, root: Path, real: Path) -> None:
        self.root = root
        self.locks = root / "requirements"
        self.wheels = root / "wheels"
        self.locks.mkdir()
        self.wheels.mkdir()
        shutil.copy(real / "requirements" / "environments.py", self.locks)

    def publish(self, name: str, version: str) -> None:
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(self.wheels / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", f"version = {version!r}\n")
            wheel.writestr(f"{info}/METADATA", f"Name: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    def lock(self, layer: str, *pins: str) -> None:
        (self.locks / f"{layer}.lock").write_text("\n".join(pins) + "\n")

    def start(self, *layers: str, **variables: str) -> subprocess.Popen[str]:
        dropped = ("TOKENFLOW_ENVS", "PYTHONPATH", "PIP_FIND_LINKS", "PIP_CONFIG_FILE")
        kept = {k: v for k, v in os.environ.items() if k not in dropped}
        return subprocess.Popen(
            [sys.executable, "-c", BUILD, *layers],
            cwd=self.root,
            env={**kept, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def build(self, *layers: str, **variables: str) -> str:
        out, err = self.start(*layers, **variables).communicate(timeout=180)
        return out + err

    def version_of(self, name: str) -> str:
        inside = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
        python = self.root / ".envs" / "small" / inside
        return subprocess.run(
            [python, "-c", f"import {name}; print({name}.version)"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.strip()


@pytest.fixture
def small(tmp_path: Path, checkout: Path) -> SmallCheckout:
    made = SmallCheckout(tmp_path, checkout)
    made.publish("grass", "1.0")
    made.publish("grass", "2.0")
    made.publish("sky", "1.0")
    made.lock("engine", "grass==1.0")
    made.lock("test", "sky==1.0")
    return made


def test_environment_is_made_once_and_again_when_its_lock_changes(small: SmallCheckout) -> None:
    first = small.build("engine")
    assert "Making the environment small" in first and small.version_of("grass") == "1.0"
    again = small.build("engine")
    assert "Making" not in again and "installing" not in again
    added = small.build("engine", "test")
    assert "Making" not in added and "requirements/test.lock" in added
    assert small.version_of("sky") == "1.0"
    assert "installing" not in small.build("engine")
    small.lock("engine", "grass==2.0")
    assert "Making the environment small" in small.build("engine")
    assert (small.version_of("grass"), small.version_of("sky")) == ("2.0", "")


def test_half_made_environment_never_looks_finished(small: SmallCheckout) -> None:
    small.lock("engine", "grass==3.0")
    failed = small.build("engine")
    assert "REFUSED" in failed and "could not be made" in failed and "small.log" in failed
    assert "grass==3.0" in failed, "pip's own words"
    small.lock("engine", "grass==1.0")
    stamp = small.root / ".envs" / "small" / environments.STAMP
    assert not stamp.exists()
    assert "Making" in small.build("engine") and small.version_of("grass") == "1.0"
    stamp.write_text("{ cut short")
    assert "Making" in small.build("engine")


def test_two_commands_at_once_make_it_once(small: SmallCheckout) -> None:
    both = [small.start("engine"), small.start("engine")]
    said = [process.communicate(timeout=180)[0] for process in both]
    assert sum("Making the environment" in text for text in said) == 1
    assert all(text.splitlines()[-1].startswith("at ") for text in said)


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for Debian's Python")
def test_python_without_ensurepip_installs_with_its_own_pip(small: SmallCheckout) -> None:
    python = small.root / "python3.11"
    python.write_text(
        textwrap.dedent(
            f"""\
            #!/bin/sh
            [ "$2" = "import ensurepip" ] && exit 1
            exec {sys._base_executable} "$@"
            """
        )
    )
    python.chmod(0o755)
    assert "at " in small.build("engine", TOKENFLOW_PYTHON_3_11=str(python))
    assert not list((small.root / ".envs" / "small").glob("lib/*/site-packages/pip"))
    assert small.version_of("grass") == "1.0"


def test_missing_python_is_said_with_a_remedy(small: SmallCheckout) -> None:
    script = BUILD.replace('"3.11"', '"3.99"')
    done = subprocess.run(
        [sys.executable, "-c", script, "engine"],
        cwd=small.root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "needs Python 3.99, and none was found" in done.stderr
    assert "TOKENFLOW_PYTHON_3_99" in done.stderr


def test_locks_pin_every_line(checkout: Path) -> None:
    locks = sorted((checkout / "requirements").glob("*.lock"))
    assert {lock.stem for lock in locks} >= {"engine", "test", "bpy-4.5", "bpy-5.0", "bpy-5.2"}
    for lock in locks:
        lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
        assert all("==" in line and "://" not in line for line in lines), lock.name
    engine, test = (
        (checkout / "requirements" / f"{n}.lock").read_text() for n in ("engine", "test")
    )
    assert "\ntorch==2.13.0\n" in engine
    names = [{line.partition("==")[0] for line in t.splitlines()[1:]} for t in (engine, test)]
    assert not names[0] & names[1], "each package is pinned in one place"


def test_old_pythons_can_start_it(checkout: Path) -> None:
    for name in ("run.py", "package.py", "requirements/environments.py"):
        ast.parse((checkout / name).read_text(encoding="utf-8"), feature_version=(3, 9))
    for version in ("3.9", "3.10", "3.13"):
        python = environments.find_python(version)
        if python:
            done = subprocess.run(
                [*python, "run.py", "help"],
                cwd=checkout,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (done.returncode, "run.py demo" in done.stdout) == (0, True), done.stderr


def run(checkout: Path, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, str(checkout / "run.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        **more,
    )


def test_unknown_command_shows_what_there_is(checkout: Path) -> None:
    done = run(checkout, "dance")
    assert done.returncode == 2 and "run.py demo" in done.stdout


def test_commands_run_in_the_engine_environment_from_any_folder(
    checkout: Path, tmp_path: Path
) -> None:
    if not environments.is_ready(environments.ENGINE):
        pytest.skip("the engine's environment is not made; `python3 run.py setup` makes it")
    code = "import os, sys, tokenflow_engine; print(os.getcwd(), sys.prefix); sys.exit(5)"
    done = run(checkout, "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 5
    assert done.stdout.split() == [str(tmp_path), str(environments.ENGINE.folder)]
    done = run(checkout, "tokenflow", "dance", cwd=tmp_path)
    assert done.returncode == 2 and "no command 'dance'" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for Blender with a shell script")
def test_blender_that_is_too_old_or_broken_is_left_out(
    checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import run as commands

    program = tmp_path / "blender"
    for said, usable in (("Blender 4.2.1", False), ("Blender 4.5.0 LTS", True), ("oh no", False)):
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("BLENDER", str(program))
        assert (commands.blender_program() == str(program)) is usable
        assert ("going on without it" in capsys.readouterr().out) is not usable
