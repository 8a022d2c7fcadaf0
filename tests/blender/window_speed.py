"""What the add-on costs Blender's window while an edit runs; prints one line of JSON.

The clip is TOKENFLOW_TEST_CLIP; the window shows a Video Editing workspace. Times are of this
thread's processor, so that other programs on the machine do not count as the add-on's work.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

# Blender runs this file by name and does not look for modules beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from project import scripted_engine
from window import Script, open_tab, play, press, sequencer_area, wait_until, window

EXTENSION = "bl_ext.user_default.tokenflow_edit"
EDITS = 5
SECONDS = float(os.environ.get("TOKENFLOW_TEST_SECONDS", "20"))


def _room(name: str):
    return import_module(f"{EXTENSION}.{name}")


class _Timed:
    """A function that keeps how long each call took, in milliseconds."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def __call__(self, *arguments, **named):
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            return self._function(*arguments, **named)
        finally:
            self.cpu.append(1000 * (time.thread_time() - cpu))
            self.wall.append(1000 * (time.perf_counter() - wall))

    def summary(self) -> dict[str, float]:
        return {
            "calls": len(self.cpu),
            "median_ms": round(statistics.median(self.cpu), 3),
            "longest_ms": round(max(self.cpu), 3),
            "median_wall_ms": round(statistics.median(self.wall), 3),
            "longest_wall_ms": round(max(self.wall), 3),
        }


def _scene():
    return getattr(window().workspace, "sequencer_scene", None) or window().scene


def scenario() -> Script:
    bpy.context.preferences.view.show_splash = False
    press("ESC", 5, 5)
    yield 0.5
    scripted_engine()
    scene = _scene()
    editor = scene.sequence_editor or scene.sequence_editor_create()
    settings = scene.tokenflow
    settings.prompt = "a red cone on sand under a blue sky"
    settings.model_folder = os.environ["TOKENFLOW_TEST_FOOTAGE"]
    area = sequencer_area()
    yield from open_tab(area, "TokenFlow")

    timer = _room("sequencer.queue_timer")
    queue = timer.edit_queue()
    panel = bpy.types.TOKENFLOW_PT_edit
    timed = {"draw": _Timed(panel.draw), "tick": _Timed(queue.poll)}
    # Blender looks the method up on the class at each drawing.
    panel.draw = lambda self, context: timed["draw"](self, context)
    queue.poll = timed["tick"]
    rows = _room("sequencer.queue_timer").show_queue
    timed["rows"] = _Timed(rows)
    timer.show_queue = timed["rows"]

    clicks = []
    for number in range(EDITS):
        strip = editor.strips.new_movie(
            f"cone {number}", os.environ["TOKENFLOW_TEST_CLIP"], 1 + 2 * number, 1
        )
        settings.source_prompt = "steps 100000" if number == 0 else "steps 5"
        template = _room("sequencer.settings").request_template(settings)
        cpu = time.thread_time()
        edit = queue.start(scene, strip, template, here=False)
        clicks.append(1000 * (time.thread_time() - cpu))
    timer.ensure_ticking()
    first = queue.edits[0]
    yield from wait_until(lambda: first.progress and first.progress.phase == "invert", "the edit")
    yield from wait_until(lambda: all(e.job for e in queue.edits[:3]), "the frames")
    while_reading = timed["tick"].summary()
    for measured in timed.values():
        measured.cpu.clear()
        measured.wall.clear()
    yield SECONDS
    running = {name: measured.summary() for name, measured in timed.items()}
    for measured in timed.values():
        measured.cpu.clear()
        measured.wall.clear()
    queue.cancel(first)
    yield from wait_until(lambda: edit.stage.finished, "the last edit")
    assert edit.stage.name == "DONE", edit.error
    report = {
        "blender": bpy.app.version_string,
        "edits_in_queue": EDITS,
        "frames_per_edit": edit.frames.count,
        "tick_while_reading": while_reading,
        "tick_while_running": running["tick"],
        "tick_while_results_arrive": timed["tick"].summary(),
        "drawing_the_panel": running["draw"],
        "rows_of_the_list": running["rows"],
        "click": {"median_ms": round(statistics.median(clicks), 3), "longest_ms": max(clicks)},
    }
    print("SPEED " + json.dumps(report), flush=True)


play(scenario())
