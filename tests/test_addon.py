"""The add-on in real Blenders of three versions, as the module `bpy`.

The checks themselves run inside Blender: each public function of the files in `tests/blender/` is
one test here, run in one process for each file and version.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ROOT / "tests" / "blender"
VERSIONS = ("4.5", "5.0", "5.2")
CHECKS = (
    *("registration", "wording", "pixels", "placement", "any_strip", "bad_input", "command"),
    *("presets", "freedom", "takes", "edit_queue", "edit_file", "translations", "preview"),
    *("engine_page", "engine_health", "models_page"),
    "real_edit",
    "job_steps",
)
SECONDS_FOR_ONE_FILE = 1800


def checks_of(file: str) -> list[str]:
    """Names of the checks in a file, which only Blender can import."""
    tree = ast.parse((INSIDE / f"{file}.py").read_text("utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and "test_" in n.name[:5]]


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> Path:
    """Twelve frames of noise, of odd size, as images and as a movie without loss.

    Besides, the same with noise for alpha, and four frames of 16 bits.
    """
    folder = tmp_path_factory.mktemp("footage")
    for name in ("images", "transparent", "deep"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        picture = rng.integers(0, 256, (47, 61, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{number:05d}.png")
        alpha = rng.integers(0, 256, (47, 61, 1), dtype=np.uint8)
        transparent = np.concatenate([picture, alpha], axis=2)
        Image.fromarray(transparent).save(folder / "transparent" / f"{number:05d}.png")
    for number in range(4):
        deep = rng.integers(0, 65536, (47, 61, 3), dtype=np.uint16)
        cv2.imwrite(str(folder / "deep" / f"{number:05d}.png"), deep)
    source = folder / "images" / "%05d.png"
    ffmpeg("-framerate", 24, "-i", source, "-c:v", "ffv1", "-pix_fmt", "bgr0", folder / "movie.mkv")
    return folder


@pytest.fixture(scope="session")
def outcomes(
    bpy_python: Callable[[str], Path],
    noise: Path,
    footage: Callable[[str], Path],
    engine_python: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, str], dict[str, str]]:
    """What became of each check of a file in a version; the file runs when first asked for."""
    known: dict[tuple[str, str], dict[str, str]] = {}

    def run(version: str, file: str) -> dict[str, str]:
        python = bpy_python(version)
        work = tmp_path_factory.mktemp(f"{file}_{version.replace('.', '_')}")
        results = work / "results.json"
        environment = {
            **os.environ,
            "BLENDER_USER_RESOURCES": str(work / "profile"),
            "TOKENFLOW_TEST_FOOTAGE": str(noise),
            "TOKENFLOW_TEST_CAMERA": str(footage("bikes.mp4")),
            "TOKENFLOW_CACHE": str(work / "cache"),
        }
        command = [python, "-W", "error::DeprecationWarning", INSIDE / "inside.py"]
        command += [INSIDE / f"{file}.py", work / "work", results]
        try:
            ended = subprocess.run(
                list(map(str, command)),
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS_FOR_ONE_FILE,
            )
            said = f"exit code {ended.returncode}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
        except subprocess.TimeoutExpired:
            said = f"it took more than {SECONDS_FOR_ONE_FILE} s"
        found = json.loads(results.read_text()) if results.is_file() else {}
        return {
            name: found.get(name, f"Blender did not get to it: {said}") for name in checks_of(file)
        }

    def outcome(version: str, file: str) -> dict[str, str]:
        if (version, file) not in known:
            known[version, file] = run(version, file)
        return known[version, file]

    return outcome


@pytest.mark.parametrize(
    ("version", "file", "check"),
    [
        pytest.param(version, file, check, id=f"{version}-{file}-{check.removeprefix('test_')}")
        for version in VERSIONS
        for file in CHECKS
        for check in checks_of(file)
    ],
)
def test_in_blender(
    outcomes: Callable[[str, str], dict[str, str]], version: str, file: str, check: str
) -> None:
    failure = outcomes(version, file)[check]
    assert not failure, failure


@pytest.mark.parametrize("version", VERSIONS)
def test_blenders_own_validator_accepts_the_manifest(
    bpy_python: Callable[[str], Path], version: str, tmp_path: Path
) -> None:
    python = bpy_python(version)
    # The validator needs no bpy: it is a program of its own beside it.
    (tool,) = python.parent.parent.rglob("bl_pkg/cli/blender_ext.py")
    for arguments in (["validate", ROOT], ["build", "--source-dir", ROOT]):
        if arguments[0] == "build":
            arguments += ["--output-filepath", tmp_path / "tokenflow_edit.zip"]
        ended = subprocess.run(
            [str(python), str(tool), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_manifest_and_the_engine_have_one_version() -> None:
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert manifest["version"] == project["version"]
    assert manifest["id"] == "tokenflow_edit"
