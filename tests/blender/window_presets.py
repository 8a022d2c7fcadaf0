"""Presets in a real window: searched by typing, applied by a click, undone, saved, deleted."""

from __future__ import annotations

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


def _shown():
    return bpy.context.window_manager.tokenflow_presets


def _settings():
    scene = getattr(window().workspace, "sequencer_scene", None) or window().scene
    return scene.tokenflow


def _keys() -> list[str]:
    return [row.key for row in _shown().rows]


def _choose(key: str) -> None:
    _shown().active = _keys().index(key)
    for area in window().screen.areas:
        area.tag_redraw()


def _time_draws() -> list[float]:
    """From now on, the seconds that each draw of the panel and each ordering of its list takes."""
    panels = sys.modules[f"{EXTENSION}.panels.presets"]
    seconds: list[float] = []

    draw = panels.TOKENFLOW_PT_presets.draw
    filter_items = panels.TOKENFLOW_UL_presets.filter_items

    def timed(function, *arguments):
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            seconds.append(time.perf_counter() - start)

    # Blender counts a function's arguments before it calls it: these must have the same.
    def timed_draw(self, context):
        timed(draw, self, context)

    def timed_filter(self, context, data, property):
        return timed(filter_items, self, context, data, property)

    panels.TOKENFLOW_PT_presets.draw = timed_draw
    panels.TOKENFLOW_UL_presets.filter_items = timed_filter
    return seconds


def scenario() -> Script:
    bpy.context.preferences.view.show_splash = False
    area = sequencer_area()
    press("ESC", 5, 5)
    yield 0.5
    with bpy.context.temp_override(window=window(), area=area):
        bpy.ops.screen.screen_full_area()
    yield 0.5
    area = sequencer_area()
    yield from open_tab(area, "TokenFlow")
    yield from wait_until(lambda: len(_shown().rows) > 20, "the presets", 20)
    seconds = _time_draws()
    with bpy.context.temp_override(window=window(), area=area):
        bpy.ops.ed.undo_push(message="Start")
    yield 0.5
    yield from screenshot("presets_1_panel")

    yield from fill_in(area, "tokenflow_presets.search", "oil canvas")
    assert _shown().search == "oil canvas", _shown().search
    _choose("bundled:Oil Painting")
    yield 0.5
    yield from screenshot("presets_2_found")
    yield from click(area, "tokenflow.apply_preset")
    assert "oil painting" in _settings().prompt, _settings().prompt
    assert _settings().guidance_scale == 10.0

    timeline = region(area, "WINDOW")
    place = (timeline.x + timeline.width // 2, timeline.y + timeline.height // 2)
    move(*place)
    yield 0.2
    press("Z", *place, ctrl=True)
    yield 0.7
    assert _settings().prompt == "", "one undo takes the preset back"

    yield from fill_in(area, "tokenflow.prompt", "a glass dragon over the sea")
    sidebar = region(area, "UI")
    middle = (sidebar.x + sidebar.width // 2, sidebar.y + sidebar.height // 2)
    move(*middle)
    yield 0.3
    with bpy.context.temp_override(window=window(), area=area, region=sidebar):
        bpy.ops.tokenflow.save_preset("INVOKE_DEFAULT")
    yield 0.7
    yield from screenshot("presets_3_save")
    # The mouse is over the dialog's text; the first Enter confirms the dialog.
    press("RET", *middle)
    yield 0.7
    key = "own:A glass dragon over"
    yield from wait_until(lambda: key in _keys(), "the saved preset", 10)
    bpy.ops.tokenflow.favourite_preset(preset=key)
    _shown().search = ""
    _choose(key)
    yield 0.5
    yield from screenshot("presets_4_own")

    with bpy.context.temp_override(window=window(), area=area, region=sidebar):
        bpy.ops.tokenflow.delete_preset("INVOKE_DEFAULT")
    yield 0.7
    yield from screenshot("presets_5_delete")
    press("RET", *middle)
    yield from wait_until(lambda: key not in _keys(), "the preset to go", 10)
    print(
        f"presets drawn: {len(seconds)} calls, median {1000 * statistics.median(seconds):.2f} ms, "
        f"longest {1000 * max(seconds):.2f} ms",
        flush=True,
    )


play(scenario())
