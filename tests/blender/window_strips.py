"""A retimed, cropped strip with alpha and a text strip, edited by one click in a real window.

The strip's pictures are TOKENFLOW_TEST_FOOTAGE/transparent; the window shows a Video Editing
workspace. The scripted engine hands the frames back as they came, so that the result must show what
the source shows. Prints what placing a result costs: seconds of the main thread, which other
programs do not lengthen.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path

# Blender runs this file by name and does not look for modules beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
import numpy as np
from project import rgba, scripted_engine
from window import (
    Script,
    click,
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
START, FRAMES, CROPPED = 20, 8, 24


def _room(name: str):
    return import_module(f"{EXTENSION}.{name}")


def _scene():
    return getattr(window().workspace, "sequencer_scene", None) or window().scene


def _add_strips(folder: Path) -> None:
    scene = _scene()
    editor = scene.sequence_editor or scene.sequence_editor_create()
    scene.render.resolution_x = scene.render.resolution_y = 400
    span = {"frame_start": START, "length": 2 * FRAMES}
    sky = editor.strips.new_effect(name="sky", type="COLOR", channel=1, **span)
    sky.color = (0.15, 0.35, 0.6)
    files = sorted(folder.glob("*.png"))
    ball = editor.strips.new_image("ball", str(files[0]), 2, START, fit_method="ORIGINAL")
    for file in files[1:]:
        ball.elements.append(file.name)
    ball.transform.scale_x = ball.transform.scale_y = 2.0
    ball.crop.min_x = CROPPED
    text = editor.strips.new_effect(name="title", type="TEXT", channel=4, **span)
    text.text = "Hello"
    for strip in editor.strips:
        strip.select = strip == ball
    editor.active_strip = ball
    scene.frame_start, scene.frame_end = START, START + 2 * FRAMES - 1
    scene.frame_set(START + 4)
    scene.tokenflow.prompt = "a blue ball"
    scene.tokenflow.source_prompt = "steps 20"
    scene.tokenflow.model_folder = str(folder)


def _timed(costs: list[float]) -> None:
    """Note the main thread's milliseconds of every delivery and of every tick of the queue."""
    queue = _room("sequencer.queue_timer").edit_queue()
    poll = queue.poll

    def timed_poll(*arguments: float) -> bool:
        start = time.thread_time()
        try:
            return poll(*arguments)
        finally:
            costs.append(1000 * (time.thread_time() - start))

    queue.poll = timed_poll


def scenario() -> Script:
    bpy.context.preferences.view.show_splash = False
    area = sequencer_area()
    area.spaces.active.timeline_overlay.show_strip_source = False
    press("ESC", 5, 5)
    yield 0.5
    scripted_engine()
    source = Path(os.environ["TOKENFLOW_TEST_FOOTAGE"]) / "transparent"
    _add_strips(source)
    with bpy.context.temp_override(window=window(), area=area, region=region(area, "WINDOW")):
        # On the ball, which alone is selected.
        bpy.ops.sequencer.retiming_segment_speed_set(speed=50.0)
        assert _scene().sequence_editor.strips["ball"].duration >= 2 * FRAMES - 1
        _scene().sequence_editor.strips["title"].select = True
        bpy.ops.sequencer.view_all()
        bpy.ops.ed.undo_push(message="Add strips")
    yield from open_tab(area, "TokenFlow")
    yield from screenshot("strips_1_selected")

    queue = _room("sequencer.queue_timer").edit_queue()
    costs: list[float] = []
    _timed(costs)
    yield from click(area, "tokenflow.edit_strip")
    yield from wait_until(lambda: len(queue.edits) == 2, "both edits to begin", 30)
    edits = list(queue.edits)
    yield from wait_until(lambda: not queue.unfinished, "both results")
    print(f"ticks: {len(costs)}, longest {max(costs):.2f} ms of the main thread's CPU", flush=True)
    strips = _scene().sequence_editor.strips
    for edit in edits:
        assert edit.error is None, edit.error
        made, strip = strips[edit.result_name], strips[edit.strip_name]
        assert (made.left_handle, made.right_handle) == (strip.left_handle, strip.right_handle)
        assert made.blend_type == strip.blend_type
    ball, title = strips["ball TokenFlow"], strips["title TokenFlow"]
    assert (ball.channel, title.channel) == (3, 5)
    assert ball.elements[0].orig_width == 192 - CROPPED
    assert len(ball.elements) == strips["ball"].duration
    # Another Blender rendered them: every second frame is new, cropped, with its alpha, to the bit.
    for number in (0, 6, 12):
        got = rgba(Path(bpy.path.abspath(ball.directory)) / ball.elements[number].filename)
        expected = rgba(source / f"{number // 2:05d}.png")[:, CROPPED:]
        assert len(np.unique(expected[..., 3])) > 50
        assert np.array_equal(got, expected), number
    for name in ("ball", "title"):
        strips[name].mute = True
    yield 1.0
    # The guide shows this picture, and a script's words tell a reader nothing.
    _scene().tokenflow.source_prompt = "a red ball"
    area.tag_redraw()
    yield 0.5
    yield from screenshot("strips_2_results")


play(scenario())
