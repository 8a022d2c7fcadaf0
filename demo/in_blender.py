"""What happens inside of Blender: a project with one movie strip, and a click's worth of editing.

    blender -b --factory-startup --python-exit-code 9 --python in_blender.py -- TASK.json
    PYTHON_WITH_BPY in_blender.py TASK.json

TASK.json: {"extension", "movie", "project", "frames_folder", "fps", "size", "settings", "report"}.
The add-on must lie (or be linked) in Blender's folder of user extensions.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import bpy

# Only bpy makes this one importable, so the two are not in alphabetical order.
import addon_utils  # isort: skip


MARK = "      "
"""Begins each line that is meant for the user; Blender prints a lot beside them."""


def say(line: str) -> None:
    print(f"{MARK}{line}", flush=True)


def new_project(task: dict) -> bpy.types.Strip:
    """A saved .blend whose sequencer holds the movie; returns its strip, active and selected."""
    scene = bpy.context.scene
    scene.render.fps = task["fps"]
    scene.render.resolution_x, scene.render.resolution_y = task["size"]
    scene.view_settings.view_transform = "Standard"
    bpy.context.preferences.filepaths.save_version = 0
    bpy.ops.wm.save_as_mainfile(filepath=task["project"])
    editor = scene.sequence_editor_create()
    movie = Path(task["movie"])
    strip = editor.strips.new_movie(
        name=movie.stem, filepath=f"//{movie.name}", channel=1, frame_start=1, fit_method="FIT"
    )
    scene.frame_start, scene.frame_end = 1, strip.frame_duration
    editor.active_strip = strip
    strip.select = True
    return strip


class Watch(threading.Thread):
    """Says how far the edit is, every few seconds, while the operator holds the main thread."""

    def __init__(self, extension: str) -> None:
        super().__init__(daemon=True)
        self.queue = importlib.import_module(f"{extension}.sequencer.queue_timer").edit_queue()
        self.over = threading.Event()
        self.said: tuple[str, int] | None = None

    def run(self) -> None:
        while not self.over.wait(0.3):
            edit = self.queue.find("")
            progress = edit.progress if edit else None
            if progress is None:
                continue
            step = (progress.phase, 5 * progress.done // progress.total)
            if step != self.said:
                self.said = step
                left = progress.eta_seconds
                ending = "" if left is None else f", about {left:.0f} s left"
                say(f"{progress.phase:<10} {progress.done / progress.total:4.0%}{ending}")


def edit(task: dict) -> None:
    say(f"Blender {bpy.app.version_string}")
    strip = new_project(task)
    addon_utils.enable(task["extension"], default_set=True, persistent=True)
    scene = bpy.context.scene
    for name, value in task["settings"].items():
        setattr(scene.tokenflow, name, value)
    scene.tokenflow.frames_folder = task["frames_folder"]
    watch = Watch(task["extension"])
    watch.start()
    start = time.monotonic()
    try:
        outcome = bpy.ops.tokenflow.edit_strip("EXEC_DEFAULT")
    finally:
        watch.over.set()
        watch.join()
    if outcome != {"FINISHED"}:
        raise RuntimeError(f"the operator ended with {outcome}")
    (result,) = (
        other
        for other in scene.sequence_editor.strips_all
        if other.tokenflow.source_uid == strip.tokenflow.uid and other != strip
    )
    bpy.ops.wm.save_as_mainfile(filepath=task["project"])
    report = {
        "blender": bpy.app.version_string,
        "folder": bpy.path.abspath(result.tokenflow.folder),
        "strips": {s.name: s.channel for s in scene.sequence_editor.strips_all},
        "seconds": round(time.monotonic() - start, 1),
    }
    Path(task["report"]).write_text(json.dumps(report), encoding="utf-8")
    addon_utils.disable(task["extension"], default_set=False)


def main() -> int:
    try:
        edit(json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8")))
    except RuntimeError as error:
        # What an operator reported.
        say(str(error).strip())
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Blender as a module may hang while the interpreter cleans up after it.
    os._exit(status)
