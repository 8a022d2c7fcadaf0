"""A hand and an eye in a real Blender window: hovering, clicking, typing, screenshots.

A scenario is a generator that yields the seconds to wait; `play` has Blender's timers advance it.
Nothing is clicked by coordinates: a button is found by what Blender says lies under the mouse.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path

import bpy
from bpy.types import Area, Region, Window

Script = Generator[float, None, None]


def window() -> Window:
    return bpy.context.window_manager.windows[0]


def sequencer_area() -> Area:
    """The timeline, not the preview."""
    return next(
        area
        for area in window().screen.areas
        if area.type == "SEQUENCE_EDITOR" and area.spaces.active.view_type == "SEQUENCER"
    )


def region(area: Area, kind: str) -> Region:
    return next(found for found in area.regions if found.type == kind)


def move(x: int, y: int) -> None:
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=x, y=y)


def press(key: str, x: int, y: int, **modifiers: object) -> None:
    window().event_simulate(type=key, value="PRESS", x=x, y=y, **modifiers)
    modifiers.pop("unicode", None)
    window().event_simulate(type=key, value="RELEASE", x=x, y=y, **modifiers)


def write(text: str, x: int, y: int) -> None:
    """Type a text of small letters and spaces."""
    for letter in text:
        key = "SPACE" if letter == " " else letter.upper()
        press(key, x, y, unicode=letter)


def screenshot(name: str) -> Script:
    """Photograph the screen; Blender goes on meanwhile."""
    camera = _photograph(name)
    while camera.poll() is None:
        yield 0.1
    assert camera.returncode == 0


def _photograph(name: str) -> subprocess.Popen:
    folder = Path(os.environ["TOKENFLOW_SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    # Blender's own screenshot is black under a software renderer.
    return subprocess.Popen(["import", "-window", "root", str(folder / f"{name}.png")])


def open_tab(area: Area, name: str) -> Script:
    """Open the sidebar at a tab."""
    area.spaces.active.show_region_ui = True
    for _turn in range(50):
        area.tag_redraw()
        yield 0.2
        try:
            region(area, "UI").active_panel_category = name
        except TypeError:
            # The tabs are known only after the sidebar was drawn.
            continue
        area.tag_redraw()
        yield 0.3
        return
    raise AssertionError(f"there is no tab {name}")


def find(
    area: Area, wanted: str, kind: str = "UI", across: float = 0.5
) -> Generator[float, None, tuple[int, int]]:
    """Where the operator ("tokenflow.edit_strip") or property ("prompt") is in the sidebar.

    kind: another region of the area to look in. across: where to look, as a share
        of the region's width: small buttons stand beside lists.
    """
    sidebar = region(area, kind)
    x = sidebar.x + int(sidebar.width * across)
    seen = []
    for y in range(sidebar.y + sidebar.height - 4, sidebar.y, -5):
        move(x, y)
        yield 0.03
        found = _under_mouse(area, sidebar)
        if found and found not in seen:
            seen.append(found)
        # The edge of a button answers for it too, so that the click goes a little deeper. A window
        # that lags still answers for what was under the mouse before: it is asked once more.
        if wanted in found:
            move(x, y - 4)
            yield 0.4
            if wanted in _under_mouse(area, sidebar):
                return x, y - 4
    raise AssertionError(f"{wanted} is not in the region {kind}; there is: {seen}")


def _under_mouse(area: Area, place: Region) -> str:
    with bpy.context.temp_override(window=window(), area=area, region=place):
        shown = getattr(bpy.context, "property", None)
        if shown is not None:
            return f"property {shown[1]}"
        if not bpy.ops.ui.copy_python_command_button.poll():
            return ""
        bpy.context.window_manager.clipboard = ""
        bpy.ops.ui.copy_python_command_button()
        return bpy.context.window_manager.clipboard


def click(area: Area, wanted: str, kind: str = "UI", across: float = 0.5) -> Script:
    x, y = yield from find(area, wanted, kind, across)
    press("LEFTMOUSE", x, y)
    yield 0.3


def close_popup(area: Area) -> Script:
    """Close what Blender has opened over the panel, such as an error's text; the mouse moves away
    from it."""
    timeline = region(area, "WINDOW")
    x, y = timeline.x + timeline.width // 4, timeline.y + timeline.height // 4
    move(x, y)
    yield 0.3
    press("ESC", x, y)
    yield 0.5


def fill_in(area: Area, name: str, text: str) -> Script:
    """Click into a text field, replace what is in it, confirm."""
    x, y = yield from find(area, f"property {name}")
    press("LEFTMOUSE", x, y)
    yield 0.3
    press("A", x, y, ctrl=True)
    yield 0.1
    write(text, x, y)
    yield 0.3
    press("RET", x, y)
    yield 0.3


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 900.0) -> Script:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            yield from screenshot("timeout")
            raise AssertionError(f"waited too long for {what}")
        yield 0.1


def play(script: Script) -> None:
    """Advance the scenario in Blender's window; quit at its end, with code 3 if it fails."""

    def advance() -> float | None:
        try:
            return next(script)
        except StopIteration:
            print("SCENARIO PASSED", flush=True)
            bpy.ops.wm.quit_blender()
            return None
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            _photograph("failure").wait()
            os._exit(3)

    bpy.app.timers.register(advance, first_interval=1.0)
