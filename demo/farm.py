"""`python3 run.py python -m demo.farm`: ten strips, two workers, one of them unplugged midway.

Draws clips of the toy world, makes a project of them and an edit list, runs the list on a local Ray
cluster of two workers, kills one of them at its first task with the engine, and leaves the
assembled copy with the report.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.toyworld import sample_clip

ROOT = Path(__file__).resolve().parents[1]
LOOKS = ("red", "blue", "green", "yellow")
GROUNDS = ("sand", "snow")
SMALL = {"steps": 3, "inversion_steps": 3, "chunk": 4, "size": [64, 64], "guidance_scale": 5.0}


def make_project(
    folder: Path, blender: list[str], strips: int, frames: int, piece_frames: int = 0
) -> Path:
    """Draw clips and have Blender save a project of them; returns the edit list beside it.

    blender: the command that starts Blender, up to its own options. piece_frames: of the pieces
        that the first strip is edited in, 0 for none.
    """
    edits = []
    for number in range(strips):
        look, ground = LOOKS[number % len(LOOKS)], GROUNDS[number % len(GROUNDS)]
        scene = {"shape": "ball", "look": look, "ground": "grass", "sky": "blue"}
        clip = sample_clip(11 + number, "roll", frames, 64, 64, **scene)
        name = f"shot_{number:02d}"
        write_numbered(folder / "clips" / name, clip.frames)
        prompt = f"a {look} ball on {ground} under a blue sky"
        edits.append({"name": name, "strip": name, "prompt": prompt, "seed": number, **SMALL})
    if piece_frames:
        # Short chunks, so that even a short clip's pieces are not all of it.
        edits[0] |= {"piece_frames": piece_frames, "chunk": 2}
    script = str(Path(__file__).with_name("farm_project.py"))
    project = folder / "shot.blend"
    subprocess.run(
        [*blender, "-b", "--factory-startup", "-P", script, "--", folder / "clips", project],
        check=True,
        stdout=subprocess.DEVNULL,
        env=without_our_packages(),
    )
    listed = folder / "shot.edits.json"
    head = {"format": "tokenflow-edit-list", "version": 1, "blend": project.name}
    listed.write_text(json.dumps({**head, "edits": edits}, indent=1) + "\n", encoding="utf-8")
    return listed


def without_our_packages() -> dict[str, str]:
    """The environment without what would shadow the packages of Blender's Python."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run_on_workers(
    listed: Path, workers: int, options: list[str], watch: Callable[[int], bool] | None = None
) -> int:
    """Run an edit list with the command that a TD uses; its lines are passed on.

    watch: called every half second with the command's process id until it returns True.
    """
    command = [sys.executable, str(ROOT / "run.py"), "tokenflow", "farm", "run", str(listed)]
    command += ["--workers", str(workers), *options]
    process = subprocess.Popen(command, cwd=ROOT, env=without_our_packages())
    seen = watch is None
    try:
        while process.poll() is None:
            seen = seen or (watch is not None and watch(process.pid))
            time.sleep(0.5)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode


def pull_the_plug(pid: int) -> bool:
    """Kill one worker of a run, all of it at once, while its engine inverts; False if none does."""
    for worker in _raylets(pid):
        below = _below(worker)
        if any("invert" in _command(process) for process in below):
            for process in (worker, *below):
                _kill(process)
            return True
    return False


def _raylets(pid: int) -> list[psutil.Process]:
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return [process for process in below if Path(_command(process)[:1][0]).name == "raylet"]


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() or [""]
    except psutil.Error:
        return [""]


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.farm", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "farm", metavar="DIR")
    parser.add_argument("--blender", default=os.environ.get("BLENDER") or "blender")
    parser.add_argument("--strips", type=int, default=10, metavar="N")
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="of each strip")
    parser.add_argument("--keep-both-workers", action="store_true")
    options = parser.parse_args()
    folder: Path = options.output.absolute()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    print(f"Drawing {options.strips} clips and saving a project in {folder}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    listed = make_project(folder, [options.blender], options.strips, options.frames)

    def watch(pid: int) -> bool:
        pulled = pull_the_plug(pid)
        if pulled:
            print("(the plug of one worker is pulled)", flush=True)
        return pulled

    more: list[Any] = ["--blender", options.blender, "--batches-per-task", "2"]
    status = run_on_workers(listed, 2, more, None if options.keep_both_workers else watch)
    print((listed.with_name("shot.edits_job") / "report.md").read_text(encoding="utf-8"))
    return status


if __name__ == "__main__":
    sys.exit(main())
