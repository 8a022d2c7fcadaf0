"""`run.py demo`, shortened: a strip goes into a real Blender, pictures come out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenflow_engine.media.frames import probe


def demo(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demo", "--frames", "3", "--steps", "2", *arguments],
        cwd=checkout,
        # A cache of its own: phases found in the user's would have nothing to report.
        env={**os.environ, "TOKENFLOW_CACHE": f"{arguments[-1]}-cache"},
        capture_output=True,
        text=True,
        timeout=570,
    )


def check_results(output: Path, said: str) -> None:
    assert {p.name for p in output.iterdir()} == {
        *("source.mp4", "project.blend", "demo.mp4", "before_after.png", "edit.json", "edited"),
        *(["notes.txt"] if (output / "notes.txt").exists() else []),
    }
    source, both = probe(output / "source.mp4"), probe(output / "demo.mp4")
    assert (both.frame_count, both.width, both.height) == (3, 2 * source.width, source.height)
    made = json.loads((output / "edit.json").read_text())
    assert made["result"]["frame_count"] == 3
    (folder,) = (output / "edited").iterdir()
    assert sorted(p.name for p in folder.iterdir()) == [
        *(f"{n:05d}.png" for n in range(3)),
        "edit.json",
    ]
    assert re.search(r"^      (invert|correspond|edit|decode) +\d+%", said, re.MULTILINE), said
    assert '"source" (channel 1), "source TokenFlow" (channel 2)' in said


def test_demo_in_blender_as_a_module(
    checkout: Path, tmp_path: Path, bpy_python: Callable[[str], Path]
) -> None:
    host = ("--bpy-python", str(bpy_python("5.0")), "--output", str(tmp_path))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "edited" / "source_1").mkdir(parents=True)
    done = demo(checkout, *host)
    assert done.returncode == 0, done.stdout + done.stderr
    check_results(tmp_path, done.stdout)


def test_demo_in_a_blender_program(checkout: Path, tmp_path: Path, gui_blender: Path) -> None:
    done = demo(checkout, "--blender", str(gui_blender), "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    check_results(tmp_path, done.stdout)


@pytest.mark.skipif(os.name == "nt", reason="stands in for Blender with a shell script")
def test_demo_says_what_blender_said_when_it_fails(checkout: Path, tmp_path: Path) -> None:
    program = tmp_path / "blender"
    program.write_text("#!/bin/sh\necho 'Error: no display of any kind'\nexit 4\n")
    program.chmod(0o755)
    done = demo(checkout, "--blender", str(program), "--output", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "no display of any kind" in done.stdout and "The edit failed" in done.stdout
