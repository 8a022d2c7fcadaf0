"""Takes and a preview in a real window: switched, compared by a wipe, previewed, approved.

TOKENFLOW_TEST_CLIP is the clip; the folders in TOKENFLOW_TEST_TAKES hold the pictures of its takes.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

# Blender runs this file by name and does not look for modules beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from window import (
    Script,
    click,
    move,
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


def _room(name: str):
    return import_module(f"{EXTENSION}.{name}")


def _scene():
    return getattr(window().workspace, "sequencer_scene", None) or window().scene


def _strips():
    return _scene().sequence_editor.strips


def _queue():
    return _room("sequencer.queue_timer").edit_queue()


def _add_clip_with_takes() -> None:
    scene = _scene()
    editor = scene.sequence_editor or scene.sequence_editor_create()
    scene.render.resolution_x = scene.render.resolution_y = 192
    strip = editor.strips.new_movie("red cone", os.environ["TOKENFLOW_TEST_CLIP"], 1, 1)
    scene.frame_start, scene.frame_end = 1, 8
    scene.frame_set(3)
    frames = _room("sequencer.strip_alone").frames_of(scene, strip)
    client = f"{EXTENSION}.tokenflow_engine.client"
    for folder in sorted(Path(os.environ["TOKENFLOW_TEST_TAKES"]).iterdir()):
        pictures = sorted(folder.glob("*.png"))
        request = import_module(f"{client}.edit_request").EditRequest(
            source=str(folder), output=str(folder), prompt=f"a {folder.name} cone on grass"
        )
        result = import_module(f"{client}.progress").EditResult(
            str(folder), len(pictures), 192, 192, None, {}, stability="Very stable."
        )
        add = _room("sequencer.result_strip").add_result_strip
        take = add(scene, strip, frames, pictures, request, result)
        take.name = f"{folder.name} cone"
        strip = editor.strips["red cone"]
    editor.active_strip = strip
    strip.select = True
    settings = scene.tokenflow
    settings.prompt = "a blue cone on grass under a blue sky"
    settings.source_prompt = "a red cone on grass under a blue sky"
    settings.steps = settings.inversion_steps = int(os.environ.get("TOKENFLOW_TEST_STEPS", "4"))
    settings.preview_frames = 2


def _shown() -> list[str]:
    return [strip.name for strip in _strips() if not strip.mute and strip.tokenflow.source_uid]


def _preview_place() -> tuple[int, int]:
    """The middle of the picture."""
    for area in window().screen.areas:
        for found in area.regions if area.type == "SEQUENCE_EDITOR" else ():
            if found.type == "PREVIEW" and found.width > 1:
                return found.x + found.width // 2, found.y + found.height // 2
    raise AssertionError("no preview is open")


def scenario() -> Script:
    bpy.context.preferences.view.show_splash = False
    area = sequencer_area()
    area.spaces.active.timeline_overlay.show_strip_source = False
    press("ESC", 5, 5)
    yield 0.5
    _add_clip_with_takes()
    with bpy.context.temp_override(window=window(), area=area, region=region(area, "WINDOW")):
        bpy.ops.sequencer.view_all()
        bpy.ops.ed.undo_push(message="Add clip")
    # The timeline alone is too low for all panels at once.
    for name in ("TOKENFLOW_PT_edit", "TOKENFLOW_PT_presets"):
        assert hasattr(bpy.types, name)
    yield from open_tab(area, "TokenFlow")
    yield from _takes(area)
    yield from _preview(area)


def _takes(area) -> Script:
    sidebar = region(area, "UI")
    before = [(strip.name, strip.mute) for strip in _strips()]
    uids = {strip.name: strip.tokenflow.uid for strip in _strips()}
    with bpy.context.temp_override(window=window(), area=area, region=sidebar):
        bpy.ops.tokenflow.switch_take("INVOKE_DEFAULT", True, take=uids["blue cone"])
    yield 0.5
    assert _shown() == ["blue cone"], _shown()
    yield from screenshot("takes_1_switched")
    timeline = region(area, "WINDOW")
    place = (timeline.x + timeline.width // 2, timeline.y + timeline.height // 2)
    move(*place)
    yield 0.2
    press("Z", *place, ctrl=True)
    yield 0.7
    assert [(strip.name, strip.mute) for strip in _strips()] == before, "one undo switches back"

    with bpy.context.temp_override(window=window(), area=area, region=sidebar):
        bpy.ops.tokenflow.switch_take("INVOKE_DEFAULT", True, take=uids["gold cone"])
        bpy.ops.tokenflow.compare_takes("INVOKE_DEFAULT", take=uids["gold cone"])
    yield 0.5
    count = len(_strips())
    x, y = _preview_place()
    for step in (-60, -30, 0, 10):
        move(x + step, y)
        yield 0.3
    (wipe,) = [strip for strip in _strips() if strip.type == "WIPE"]
    assert 0.3 < wipe.effect_fader < 0.7, wipe.effect_fader
    yield 0.5
    yield from screenshot("takes_2_compared")
    press("ESC", x, y)
    yield 0.5
    assert len(_strips()) == count - 1
    assert not [strip for strip in _strips() if strip.type == "WIPE"]
    assert _shown() == ["gold cone"]


def _preview(area) -> Script:
    source = _strips()["red cone"]
    for strip in _strips():
        strip.select = strip == source
    _scene().sequence_editor.active_strip = source
    yield from click(area, "tokenflow.preview_edit")
    (edit,) = _queue().unfinished
    yield from wait_until(lambda: edit.stage.finished, "the preview", 600)
    assert edit.error is None, edit.error
    pictures = _room("sequencer.preview_pictures")
    yield 1.5
    assert all(pictures.icon_of_picture(p) > 0 for p in pictures.pictures_of(edit))
    yield from screenshot("preview_1_sheet")
    view = bpy.context.preferences.view
    # A Blender built without translations offers no languages.
    if "de_DE" in bpy.app.translations.locales:
        view.language, view.use_translate_interface = "de_DE", True
        area.tag_redraw()
        yield 1.0
        yield from screenshot("preview_2_german")
        view.language = "en_US"
        area.tag_redraw()
        yield 0.5
    yield from click(area, "tokenflow.approve_preview")
    (whole,) = _queue().unfinished
    assert whole.request.preview_frames == 0
    assert whole.request.prompt == edit.request.prompt
    yield from wait_until(lambda: whole.stage.finished, "the whole edit", 900)
    assert whole.error is None, whole.error
    assert _shown() == [whole.result_name], _shown()
    yield 0.7
    yield from screenshot("preview_3_approved")


play(scenario())
