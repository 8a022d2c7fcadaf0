"""The package as an artist gets it: built by `run.py package`, installed in real Blenders."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tokenflow_engine.media.pictures import write_numbered

VERSIONS = ("4.5", "5.0", "5.2")
VERSION_WITH_EDIT = "5.0"
TOP_LEVEL = {
    *("LICENSE", "__init__.py", "blender_manifest.toml"),
    *(
        "farm",
        "installation",
        "operators",
        "panels",
        "presets",
        "requirements",
        "sequencer",
        "tokenflow_engine",
    ),
}


@pytest.fixture(scope="session")
def built(
    checkout: Path,
    bpy_python: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The zip, with the repository's index beside it."""
    bpy_python("5.2" if os.environ.get("TOKENFLOW_BPY_5_2") else "5.0")
    folder = tmp_path_factory.mktemp("dist")
    (folder / "tokenflow_edit-0.0.1.zip").write_bytes(b"an older one")
    done = subprocess.run(
        [sys.executable, str(checkout / "run.py"), "package", str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.zip")
    assert str(file) in done.stdout and " MB" in done.stdout
    assert (folder / "index.json").as_uri() in done.stdout
    return file


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `images` with three frames."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    write_numbered(folder / "images", noise)
    return folder


@pytest.fixture
def install_and_use(
    checkout: Path,
    bpy_python: Callable[[str], Path],
    engine_python: str,
    pictures: Path,
    tmp_path: Path,
) -> Callable[..., None]:
    """Run `tests/blender/installed_package.py` in a version, in a profile of its own."""

    def run(version: str, source: str, *options: str) -> None:
        inside = checkout / "tests" / "blender"
        work = tmp_path / "work"
        work.mkdir()
        command = [bpy_python(version), "-W", "error::DeprecationWarning"]
        command += [inside / "installed_package.py", source, work, *options]
        # The checkout must not stand in for what the zip lacks.
        hidden = ("PYTHONPATH",)
        done = subprocess.run(
            list(map(str, command)),
            env={
                **{name: value for name, value in os.environ.items() if name not in hidden},
                "TOKENFLOW_ENGINE_PYTHON": engine_python,
                "BLENDER_USER_RESOURCES": str(tmp_path / "profile"),
                "TOKENFLOW_TEST_FOOTAGE": str(pictures),
                "TOKENFLOW_CACHE": str(tmp_path / "cache"),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    return run


def test_the_zip_holds_what_runs_and_nothing_else(checkout: Path, built: Path) -> None:
    version = tomllib.loads((checkout / "blender_manifest.toml").read_text("utf-8"))["version"]
    assert built.name == f"tokenflow_edit-{version}.zip"
    with zipfile.ZipFile(built) as archive:
        assert archive.testzip() is None
        names = [name for name in archive.namelist() if not name.endswith("/")]
    assert {name.partition("/")[0] for name in names} <= TOP_LEVEL
    assert "requirements/engine.lock" in names
    model = {Path(name) for name in names if name.startswith("tokenflow_engine/models/embedded/")}
    weights = {path.parent.name for path in model if path.suffix == ".safetensors"}
    assert weights == {"unet", "vae", "text_encoder"}
    suffixes = {Path(name).suffix for name in names}
    assert not suffixes & {".whl", ".so", ".pyd", ".pyc", ".zip", ".png", ".blend"}, suffixes


def test_the_index_names_the_zip_and_its_hash(built: Path) -> None:
    (listed,) = json.loads((built.parent / "index.json").read_text("utf-8"))["data"]
    assert listed["id"] == "tokenflow_edit"
    assert listed["archive_url"] == f"./{built.name}"
    digest = hashlib.sha256(built.read_bytes()).hexdigest()
    assert listed["archive_hash"] == f"sha256:{digest}"
    assert built.name in (built.parent / "index.html").read_text("utf-8")


def test_the_changelog_begins_with_the_version_of_the_manifest(checkout: Path) -> None:
    version = tomllib.loads((checkout / "blender_manifest.toml").read_text("utf-8"))["version"]
    headings = [
        line
        for line in (checkout / "CHANGELOG.md").read_text("utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert headings[0].split()[1] == version


@pytest.mark.parametrize("version", VERSIONS)
def test_the_zip_is_installed_used_and_leaves_nothing_behind(
    install_and_use: Callable[..., None], built: Path, version: str
) -> None:
    install_and_use(version, str(built), *(["edit"] if version == VERSION_WITH_EDIT else []))


def test_blender_installs_it_from_the_static_repository(
    install_and_use: Callable[..., None], built: Path
) -> None:
    install_and_use("5.2", (built.parent / "index.json").as_uri())
