"""The whole edit in a real window: prompt typed, button clicked, strip received, undone, cancelled.

The clip is TOKENFLOW_TEST_CLIP; the window shows a Video Editing workspace.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

# Blender runs this file by name and does not look for modules beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from window import (
    Script,
    click,
    fill_in,
    open_tab,
    play,
    press,
    region,
    screenshot,
    sequencer_area,
    wait_until,
    window,
)

EXTENSION = "bl_ext.user_default.tokenflow_edit"
PROMPT = "a red cone on sand under a blue sky"
START = 20


def _queue():
    return sys.modules[f"{EXTENSION}.sequencer.queue_timer"].edit_queue()


def _strips():
    return _scene().sequence_editor.strips


def _scene():
    return getattr(window().workspace, "sequencer_scene", None) or window().scene


def _add_clip() -> None:
    scene = _scene()
    editor = scene.sequence_editor or scene.sequence_editor_create()
    strip = editor.strips.new_movie("red cone", os.environ["TOKENFLOW_TEST_CLIP"], 1, START)
    editor.active_strip = strip
    scene.render.resolution_x, scene.render.resolution_y = 512, 512
    strip.transform.scale_x = strip.transform.scale_y = 512 / 192
    scene.frame_start, scene.frame_end = START, START + 8
    scene.frame_set(START + 2)
    settings = scene.tokenflow
    settings.source_prompt = "a red cone on grass under a blue sky"
    settings.guidance_scale = 5.0
    settings.steps = settings.inversion_steps = int(os.environ.get("TOKENFLOW_TEST_STEPS", "6"))


class _Stopwatch:
    """How long Blender's window took from turn to turn, and the add-on for each of its ticks."""

    def __init__(self) -> None:
        self.turns: list[float] = []
        self.ticks: list[float] = []
        self._last = time.monotonic()
        bpy.app.timers.register(self._turn, persistent=True)
        self._poll, _queue().poll = _queue().poll, self._timed_poll
        self._start, _queue().start = _queue().start, self._timed_start

    def _turn(self) -> float:
        now = time.monotonic()
        self.turns.append(now - self._last)
        self._last = now
        return 0.02

    def _timed_start(self, *arguments, **named):
        start = time.perf_counter()
        try:
            return self._start(*arguments, **named)
        finally:
            print(f"click: {1000 * (time.perf_counter() - start):.1f} ms", flush=True)

    def _timed_poll(self) -> bool:
        before = [edit.stage.name for edit in _queue().edits]
        start = time.perf_counter()
        try:
            return self._poll()
        finally:
            seconds = time.perf_counter() - start
            self.ticks.append(seconds)
            if seconds > 0.005:
                after = [edit.stage.name for edit in _queue().edits]
                print(f"tick of {1000 * seconds:.1f} ms: {before} -> {after}", flush=True)

    def report(self) -> None:
        for name, times in (("window turns", self.turns), ("add-on ticks", self.ticks)):
            print(
                f"{name}: {len(times)}, median {1000 * statistics.median(times):.2f} ms, "
                f"longest {1000 * max(times):.2f} ms",
                flush=True,
            )


def _works(edit) -> bool:
    return edit.progress is not None and edit.progress.phase != "prepare"


def scenario() -> Script:
    bpy.context.preferences.view.show_splash = False
    area = sequencer_area()
    # The README shows these screenshots, and a temporary folder's name tells a reader nothing.
    area.spaces.active.timeline_overlay.show_strip_source = False
    press("ESC", 5, 5)
    yield 0.5
    _add_clip()
    with bpy.context.temp_override(window=window(), area=area, region=region(area, "WINDOW")):
        bpy.ops.sequencer.view_all()
        bpy.ops.ed.undo_push(message="Add clip")
    yield from open_tab(area, "TokenFlow")
    yield from screenshot("1_panel")

    yield from fill_in(area, "tokenflow.prompt", PROMPT)
    assert _scene().tokenflow.prompt == PROMPT, _scene().tokenflow.prompt
    stopwatch = _Stopwatch()
    yield from click(area, "tokenflow.edit_strip")
    assert len(_queue().unfinished) == 1, "the click began no edit"
    edit = _queue().unfinished[0]
    yield from wait_until(lambda: _works(edit), "the engine to work")
    yield from wait_until(lambda: edit.progress.done > 0, "the first step")
    yield 0.5
    yield from screenshot("2_running")
    yield from wait_until(lambda: edit.stage.finished, "the result")
    assert edit.error is None, edit.error
    result = _strips()[edit.result_name]
    source = _strips()["red cone"]
    assert (result.left_handle, result.right_handle) == (source.left_handle, source.right_handle)
    assert result.left_handle == START
    assert (source.channel, result.channel) == (1, 2)
    stopwatch.report()
    yield 0.7
    yield from screenshot("3_result")

    timeline = region(area, "WINDOW")
    place = (timeline.x + timeline.width // 2, timeline.y + timeline.height // 2)
    press("Z", *place, ctrl=True)
    yield 0.7
    assert [strip.name for strip in _strips()] == ["red cone"], "one undo takes the result off"
    press("Z", *place, ctrl=True, shift=True)
    yield 0.7
    assert edit.result_name in _strips(), "redo brings it back"

    _scene().tokenflow.steps = 400
    # The result above the source stays; the source is what is edited again.
    source = _strips()["red cone"]
    _scene().sequence_editor.active_strip = source
    source.select = True
    yield from click(area, "tokenflow.edit_strip")
    edit = _queue().unfinished[0]
    yield from wait_until(lambda: _works(edit), "the engine to work")
    # The button moves when a line above it comes or goes, perhaps just under the mouse.
    for _try in range(4):
        if not edit.cancel_requested:
            yield from click(area, "tokenflow.cancel_edit")
            yield 0.3
    assert edit.cancel_requested
    yield from wait_until(lambda: edit.stage.finished, "the end of the cancelled edit", 60)
    assert edit.stage.name == "CANCELLED"
    assert len(_strips()) == 2
    yield 0.5
    yield from screenshot("4_cancelled")

    _scene().tokenflow.steps = 6
    yield from click(area, "tokenflow.edit_strip")
    edit = _queue().unfinished[0]
    yield from wait_until(lambda: edit.stage.name == "ENGINE", "the engine to get the frames")
    press("X", *place)
    yield 0.5
    if "red cone" in _strips():
        press("RET", *place)
        yield 0.5
    assert "red cone" not in _strips()
    yield from wait_until(lambda: edit.stage.finished, "the edit of the deleted strip")
    assert edit.stage.name == "UNPLACED"
    assert "is gone" in edit.error.message
    yield 0.7
    yield from screenshot("5_strip_gone")
    press("Z", *place, ctrl=True)
    yield 0.7
    assert "red cone" in _strips()

    # Blender is quit in the middle of an edit: the engine must not outlive it.
    _scene().tokenflow.steps = 400
    source = _strips()["red cone"]
    _scene().sequence_editor.active_strip = source
    source.select = True
    yield from click(area, "tokenflow.edit_strip")
    yield from wait_until(lambda: _works(_queue().unfinished[0]), "the engine to work")


play(scenario())
