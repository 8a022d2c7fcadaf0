"""The queue in a real window: several edits, order, cancel and retry by clicks, error buttons.

The clip is TOKENFLOW_TEST_CLIP; the window shows a Video Editing workspace. The engine is the
scripted one, so that each edit takes as long as the scene needs: `window_edit` has the real model.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

# Blender runs this file by name and does not look for modules beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from project import scripted_engine
from window import (
    Script,
    click,
    close_popup,
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
_BESIDE_THE_LIST, _IN_THE_ROW, _LEFT_OF_TWO = 0.865, 0.758, 0.25
LONG, SHORT = "steps 3000", "steps 40"


def _room(name: str):
    return import_module(f"{EXTENSION}.{name}")


def _queue():
    return _room("sequencer.queue_timer").edit_queue()


def _scene():
    return getattr(window().workspace, "sequencer_scene", None) or window().scene


def _strips():
    return _scene().sequence_editor.strips


def _add_clips() -> None:
    scene = _scene()
    editor = scene.sequence_editor or scene.sequence_editor_create()
    for number, name in enumerate(("red cone", "red cone 2", "red cone 3")):
        editor.strips.new_movie(name, os.environ["TOKENFLOW_TEST_CLIP"], 1 + 2 * number, 20)
    scene.render.resolution_x, scene.render.resolution_y = 192, 192
    scene.frame_start, scene.frame_end = 20, 28
    settings = scene.tokenflow
    settings.prompt = "a red cone on sand under a blue sky"
    settings.model_folder = os.environ["TOKENFLOW_TEST_FOOTAGE"]


def _choose(name: str) -> None:
    for strip in _strips():
        strip.select = strip.name == name
    _scene().sequence_editor.active_strip = _strips()[name]


def _click_until(area, wanted: str, condition, what: str, across: float = 0.5) -> Script:
    """Click, and once more where a busy machine drew the panel too late for the first time."""
    for _try in range(4):
        yield from click(area, wanted, across=across)
        for _turn in range(80):
            if condition():
                return
            yield 0.1
    yield from wait_until(condition, what, 1)


def _click_edit(area, name: str, script: str):
    _choose(name)
    _scene().tokenflow.source_prompt = script
    before = len(_queue().edits)
    area.tag_redraw()
    yield 0.3
    yield from _click_until(
        area, "tokenflow.edit_strip", lambda: len(_queue().edits) > before, "the edit to begin"
    )
    # The guide shows these pictures, and a script's words tell a reader nothing.
    _scene().tokenflow.source_prompt = "a red cone on grass under a blue sky"
    return _queue().edits[-1]


def _works(edit) -> bool:
    return edit.stage.name == "ENGINE" and edit.progress is not None and edit.progress.done > 5


def _ended(edit, stage: str) -> None:
    assert edit.stage.name == stage, (edit.stage, edit.error)


def scenario() -> Script:
    bpy.context.preferences.view.show_splash = False
    area = sequencer_area()
    area.spaces.active.timeline_overlay.show_strip_source = False
    press("ESC", 5, 5)
    yield 0.5
    scripted_engine()
    _add_clips()
    with bpy.context.temp_override(window=window(), area=area, region=region(area, "WINDOW")):
        bpy.ops.sequencer.view_all()
        bpy.ops.ed.undo_push(message="Add clips")
    yield from open_tab(area, "TokenFlow")

    first = yield from _click_edit(area, "red cone", LONG)
    second = yield from _click_edit(area, "red cone 2", SHORT)
    third = yield from _click_edit(area, "red cone 3", SHORT)
    yield from wait_until(lambda: _works(first), "the first edit's steps")
    # The edit that was added last is chosen, so that the arrow moves it.
    moved = [first, third, second]
    yield from _click_until(
        area, "tokenflow.move_edit", lambda: _queue().edits == moved, "the move", _BESIDE_THE_LIST
    )
    yield 0.5
    yield from screenshot("queue_1_three")

    # The header tells how the queue stands while the sidebar is closed.
    area.spaces.active.show_region_ui = False
    yield 0.6
    yield from screenshot("queue_2_header")
    area.spaces.active.show_region_ui = True
    yield from open_tab(area, "TokenFlow")

    # The first cancel button from above is that of the first row.
    yield from _click_until(
        area, "tokenflow.cancel_edit", lambda: first.cancel_requested, "the cross", _IN_THE_ROW
    )
    yield from wait_until(lambda: first.stage.finished, "the end of the cancelled edit")
    _ended(first, "CANCELLED")
    yield from wait_until(lambda: third.stage.finished, "the third edit")
    assert second.stage.name != "DONE", "the second was moved behind it"
    _ended(third, "DONE")
    yield from wait_until(lambda: second.stage.finished, "the second edit")
    _ended(second, "DONE")
    yield 0.7
    yield from screenshot("queue_3_done")

    bpy.context.window_manager.tokenflow_queue.active = 0
    yield 0.5
    first.request = first.request.__class__(**{**first.request.to_json(), "source_prompt": LONG})
    yield from _click_until(
        area, "tokenflow.retry_edit", lambda: not first.stage.finished, "the click on Retry"
    )
    yield from wait_until(lambda: _works(first), "the edit to run again")
    os.kill(_queue().engine.pid, signal.SIGKILL)
    yield from wait_until(lambda: first.stage.finished, "the end of the engine")
    _ended(first, "FAILED")
    assert first.error.code == "engine_lost", first.error
    yield 0.7
    yield from screenshot("queue_4_engine_lost")
    before = first.request.size
    first.request = first.request.__class__(**{**first.request.to_json(), "source_prompt": SHORT})
    yield from click(area, "tokenflow.retry_smaller", across=_LEFT_OF_TWO)
    assert before is None
    yield from wait_until(lambda: first.request.size == (144, 144), "the smaller size", 20)
    yield from wait_until(lambda: first.stage.finished, "the edit at a smaller size")
    _ended(first, "DONE")

    # A strip whose file is gone: the sentence and its button stand below the click.
    lost = _strips()["red cone 3"]
    lost.filepath = str(Path(lost.filepath).with_name("nothing.mp4"))
    _choose("red cone 3")
    _scene().tokenflow.seed = 5
    yield from _click_until(
        area, "tokenflow.edit_strip", lambda: _queue().refusal is not None, "the refusal"
    )
    assert "missing" in _queue().refusal.message
    yield 0.7
    yield from close_popup(area)
    yield from screenshot("queue_5_refused")
    manager = bpy.context.window_manager
    yield from _click_until(
        area,
        "tokenflow.copy_report",
        lambda: "unreadable_source: " in manager.clipboard,
        "the report",
    )

    # A strip deleted while its edit runs: the result is offered.
    edit = yield from _click_edit(area, "red cone 2", SHORT)
    yield from wait_until(lambda: edit.stage.name == "ENGINE", "the engine to get the frames")
    _strips().remove(_strips()["red cone 2"])
    yield from wait_until(lambda: edit.stage.finished, "the edit of the deleted strip")
    _ended(edit, "UNPLACED")
    yield 0.7
    yield from screenshot("queue_6_not_placed")
    count = len(_strips())
    yield from _click_until(
        area,
        "tokenflow.place_result",
        lambda: len(_strips()) == count + 1,
        "the placed result",
        _LEFT_OF_TWO,
    )
    _ended(edit, "DONE")

    # A render owns the Sequencer: what is finished meanwhile waits for its end.
    settings = _scene().tokenflow
    settings.seed = 6
    edit = yield from _click_edit(area, "red cone", "steps 30")
    yield from wait_until(lambda: edit.stage.name == "ENGINE", "the engine to get the frames")
    render = _scene().render
    render.filepath = str(Path(bpy.app.tempdir) / "render_")
    _scene().frame_end = 2000
    with bpy.context.temp_override(window=window(), scene=_scene()):
        bpy.ops.render.render("INVOKE_DEFAULT", animation=True, use_viewport=False)
    yield from wait_until(lambda: bpy.app.is_job_running("RENDER"), "the render", 30)
    yield from wait_until(lambda: edit.stage.name == "PLACING", "the edit to be finished", 120)
    yield 1.0
    assert bpy.app.is_job_running("RENDER") and edit.stage.name == "PLACING"
    while bpy.app.is_job_running("RENDER"):
        for shown in bpy.context.window_manager.windows:
            shown.event_simulate(type="ESC", value="PRESS", x=20, y=20)
            shown.event_simulate(type="ESC", value="RELEASE", x=20, y=20)
        yield 0.5
    yield from wait_until(lambda: edit.stage.finished, "the result after the render")
    _ended(edit, "DONE")

    yield from screenshot("queue_7_after_render")
    # Blender is quit in the middle of an edit: the next one offers to resume it.
    _scene().tokenflow.seed = 7
    edit = yield from _click_edit(area, "red cone", LONG)
    yield from wait_until(lambda: _works(edit), "the last edit to run")
    bpy.ops.wm.save_mainfile()


play(scenario())
