"""Parts of a clip inverted by several processes are the whole inversion, bit for bit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tokenflow_engine import EditRequest, Progress, edit
from tokenflow_engine.media.latents import open_sealed
from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.toyworld import sample_clip

FRAMES, CHUNK = 8, 3
WORDS = {"look": "red", "shape": "ball", "ground": "grass", "sky": "blue"}


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EditRequest:
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "cache"))
    frames = sample_clip(11, "roll", FRAMES, 64, 64, **WORDS).frames
    return EditRequest(
        source=str(write_numbered(tmp_path / "clip", frames)),
        prompt="a blue ball on grass",
        output=str(tmp_path / "out"),
        steps=2,
        inversion_steps=3,
        chunk=CHUNK,
    )


def inverted(cache: Path) -> dict[str, np.ndarray]:
    (folder,) = (cache / "invert").iterdir()
    store = open_sealed(folder, verify=True)
    assert store is not None
    return {name: store.read(name, slice(None)) for name in store.keys()}  # noqa: SIM118


def pictures(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


def test_parts_from_two_processes_make_the_whole_and_the_edit_inverts_nothing_again(
    request_of: EditRequest, tmp_path: Path, checkout: Path
) -> None:
    cache = tmp_path / "cache"
    edit(request_of)
    whole, frames = inverted(cache), pictures(tmp_path / "out")
    shutil.rmtree(cache)
    shutil.rmtree(tmp_path / "out")

    def invert(frames: tuple[int, int]) -> None:
        command = [sys.executable, "-m", "tokenflow_engine", "edit", request_of.source]
        command += ["--prompt", "a green ball on sand", "--output", str(tmp_path / "unused")]
        command += ["--frames", f"{frames[0]}:{frames[1]}", "--inversion-steps", "3"]
        command += ["--chunk", str(CHUNK), "--last-phase", "invert"]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "8 frames" not in done.stdout and "are in the cache" in done.stdout

    # The last batch holds two frames, the first task two batches.
    invert((0, 6))
    invert((6, 8))
    assert not (tmp_path / "unused").exists()
    assert len(list((cache / "invert-part").iterdir())) == 3
    reports: list[Progress] = []
    edit(request_of, progress=reports.append)
    parts = inverted(cache)
    assert parts.keys() == whole.keys()
    for name, values in whole.items():
        assert np.array_equal(parts[name], values), name
    assert pictures(tmp_path / "out") == frames


def test_a_part_that_is_missing_is_computed_by_the_edit(
    request_of: EditRequest, tmp_path: Path
) -> None:
    edit(replace(request_of, frames=(3, 6), last_phase="invert"))
    edit(request_of)
    found = inverted(tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    edit(request_of)
    for name, values in inverted(tmp_path / "cache").items():
        assert np.array_equal(found[name], values), name


def test_a_part_is_found_again_without_a_unet_call(request_of: EditRequest) -> None:
    def steps() -> list[Progress]:
        reports: list[Progress] = []
        part = replace(request_of, frames=(6, 7), last_phase="invert")
        result = edit(part, progress=reports.append)
        assert result.frame_count == 1 and not Path(request_of.output).exists()
        return [r for r in reports if r.phase == "invert" and r.done]

    # An implicit step takes several calls of the UNet.
    assert len(steps()) >= request_of.inversion_steps
    assert steps() == []
