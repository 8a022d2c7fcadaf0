"""`python3 run.py demo`: the whole way, once, without a window.

Draws a sample clip, opens a project with it in Blender, edits the strip with the add-on's operator
and leaves pictures of the result. Started by run.py in the engine's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tokenflow_engine.media.fit import fit_frame
from tokenflow_engine.media.frames import Frame, probe, read_frames
from tokenflow_engine.media.pictures import contact_sheet, write_movie, write_png
from tokenflow_engine.toyworld import sample_clip

from .sample import GRASS_TO_SAND, Sample

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = "bl_ext.user_default.tokenflow_edit"
OURS = ("source.mp4", "project.blend", "demo.mp4", "before_after.png", "edit.json", "edited")
COLUMNS = 8
MARK = "      "
"""Begins the lines out of Blender that are meant for the user, see in_blender.py."""


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "demo", metavar="DIR")
    host = parser.add_mutually_exclusive_group(required=True)
    host.add_argument("--blender", metavar="PROGRAM", help="a Blender, 4.5 or newer")
    host.add_argument("--bpy-python", metavar="PYTHON", help="a Python that has Blender as bpy")
    parser.add_argument("--frames", type=int, default=GRASS_TO_SAND.frames, metavar="N")
    parser.add_argument("--steps", type=int, default=GRASS_TO_SAND.settings["steps"], metavar="N")
    options = parser.parse_args()
    output = options.output.resolve()
    steps = {"steps": options.steps, "inversion_steps": options.steps}
    settings = {**GRASS_TO_SAND.settings, **steps}
    sample = replace(GRASS_TO_SAND, frames=options.frames, settings=settings)
    start = time.monotonic()
    clear(output)
    say(f"[1/3] Drawing the sample clip: {sample.settings['source_prompt']}")
    movie = output / "source.mp4"
    write_movie(movie, draw(sample), sample.fps)
    say(f"[2/3] Editing its strip in Blender: {sample.settings['prompt']}")
    with tempfile.TemporaryDirectory(prefix="tokenflow_demo_") as scratch:
        report = edit_in_blender(sample, output, Path(scratch), options)
    if report is None:
        say("The edit failed; the lines above say why.")
        return 1
    say("[3/3] Making the pictures")
    edited = Path(report["folder"])
    shutil.copyfile(edited / "edit.json", output / "edit.json")
    show(movie, edited, output, sample)
    say(closing(output, edited, report, time.monotonic() - start))
    return 0


def clear(output: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    output.mkdir(parents=True, exist_ok=True)
    for name in OURS:
        left = output / name
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def draw(sample: Sample) -> list[Frame]:
    width, height = sample.size
    clip = sample_clip(sample.seed, sample.motion, sample.frames, height, width, **sample.scene)
    return list(clip.frames)


def edit_in_blender(
    sample: Sample, output: Path, scratch: Path, options: argparse.Namespace
) -> dict[str, Any] | None:
    """Run Blender with settings of its own, which the user's cannot disturb; None if it fails."""
    link_extension(scratch / "resources" / "extensions" / "user_default")
    report = scratch / "report.json"
    task = scratch / "task.json"
    task.write_text(
        json.dumps(
            {
                "extension": EXTENSION,
                "movie": str(output / "source.mp4"),
                "project": str(output / "project.blend"),
                "frames_folder": "//edited",
                "fps": sample.fps,
                "size": sample.size,
                "settings": sample.settings,
                "report": str(report),
            }
        ),
        encoding="utf-8",
    )
    script = str(Path(__file__).with_name("in_blender.py"))
    if options.blender:
        command = [options.blender, "-b", "--factory-startup", "--python-exit-code", "9"]
        command += ["--python", script, "--", str(task)]
    else:
        command = [options.bpy_python, script, str(task)]
    variables = {
        **os.environ,
        "BLENDER_USER_RESOURCES": str(scratch / "resources"),
        "TOKENFLOW_ENGINE_PYTHON": sys.executable,
        "TMPDIR": str(scratch),
    }
    # The engine's packages must not shadow those of Blender's Python.
    variables.pop("PYTHONPATH", None)
    if follow(command, variables) or not report.exists():
        return None
    return dict(json.loads(report.read_text(encoding="utf-8")))


def follow(command: list[str], variables: dict[str, str]) -> int:
    """Run Blender to its end; pass on what is meant for the user, and all of it if it fails."""
    unsaid = []
    process = subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(MARK):
                say(line.rstrip())
            else:
                unsaid.append(line)
        status = process.wait()
    finally:
        process.kill()
        process.wait()
    if status:
        say("".join(unsaid[-30:]).rstrip())
    return status


def link_extension(extensions: Path) -> None:
    """Make the checkout an installed extension without copying it."""
    extensions.mkdir(parents=True)
    link = extensions / EXTENSION.rpartition(".")[2]
    if sys.platform == "win32":
        # Symbolic links need a privilege there, junctions do not.
        import _winapi

        _winapi.CreateJunction(str(ROOT), str(link))
    else:
        link.symlink_to(ROOT, target_is_directory=True)


def show(movie: Path, edited: Path, output: Path, sample: Sample) -> None:
    """Write the contact sheet and the movie, source above (or left), edit below (or right)."""
    after = list(read_frames(edited, 0, probe(edited).frame_count))
    size = (after[0].shape[1], after[0].shape[0])
    before = [fit_frame(frame, size) for frame in read_frames(movie, 0, len(after))]
    labels = [f"{name}: {sample.settings[key]}" for name, key in LABELS]
    write_png(output / "before_after.png", contact_sheet([before, after], labels, COLUMNS))
    pairs = (np.concatenate(pair, axis=1) for pair in zip(before, after, strict=True))
    write_movie(output / "demo.mp4", pairs, sample.fps)


LABELS = (("source", "source_prompt"), ("edit", "prompt"))


def closing(output: Path, edited: Path, report: dict[str, Any], seconds: float) -> str:
    made = json.loads((output / "edit.json").read_text(encoding="utf-8"))
    psnr = made["result"]["reconstruction_psnr"]
    fidelity = f"; reconstruction of the source: {psnr:.1f} dB" if psnr is not None else ""
    return "\n".join(
        [
            f"Done in {seconds:.0f} s with Blender {report['blender']}{fidelity}. In {output}:",
            "  before_after.png  source above, edit below",
            "  demo.mp4          source left, edit right",
            "  project.blend     both strips: "
            + ", ".join(f'"{n}" (channel {c})' for n, c in report["strips"].items()),
            f"  {edited.relative_to(output).as_posix():<17} the edited frames and edit.json",
            "  edit.json         everything needed to make them again",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
