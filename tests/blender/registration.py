"""What registering adds to Blender, and that unregistering takes all of it away."""

from __future__ import annotations

import sys
from pathlib import Path

import addon_utils
import bpy
from project import EXTENSION, room


def traces() -> dict[str, object]:
    """Everything of Blender's that an add-on can leave something in."""
    owners = (bpy.types.Scene, bpy.types.Strip, bpy.types.WindowManager, bpy.types.Object)
    menus = (bpy.types.SEQUENCER_MT_strip, bpy.types.SEQUENCER_MT_context_menu)
    return {
        "types": {name for name in dir(bpy.types) if "tokenflow" in name.lower()},
        "operators": "tokenflow" in dir(bpy.ops),
        "properties": [sorted(owner.bl_rna.properties.keys()) for owner in owners],
        "handlers": {
            name: list(value)
            for name in dir(bpy.app.handlers)
            if isinstance(value := getattr(bpy.app.handlers, name), list)
        },
        "menus": [[str(f) for f in menu._dyn_ui_initialize()] for menu in menus],
        "modules": {n for n in sys.modules if "tokenflow" in n and n != EXTENSION},
        "preferences": EXTENSION in bpy.context.preferences.addons,
    }


def test_unregistering_leaves_nothing_behind(work: Path) -> None:
    addon_utils.disable(EXTENSION, default_set=True)
    without = traces()
    addon_utils.enable(EXTENSION, default_set=True)
    with_addon = traces()
    addon_utils.disable(EXTENSION, default_set=True)
    left = traces()
    addon_utils.enable(EXTENSION, default_set=True)
    assert left == without
    assert not without["modules"]
    assert with_addon["types"] >= {"TOKENFLOW_OT_edit_strip", "TOKENFLOW_PT_edit"}
    assert with_addon["menus"] != without["menus"]


def test_it_can_be_enabled_again_and_again(work: Path) -> None:
    for _turn in range(3):
        addon_utils.disable(EXTENSION, default_set=True)
        assert addon_utils.enable(EXTENSION, default_set=True) is not None
    assert bpy.context.scene.tokenflow.steps == 25


def test_the_entry_is_in_the_strip_menu_and_the_context_menu(work: Path) -> None:
    for menu in (bpy.types.SEQUENCER_MT_strip, bpy.types.SEQUENCER_MT_context_menu):
        assert any("tokenflow" in draw.__module__ for draw in menu._dyn_ui_initialize())


def test_settings_start_as_the_engine_has_them(work: Path) -> None:
    request = room("sequencer.settings").request_template(bpy.context.scene.tokenflow)
    defaults = room("tokenflow_engine.client.edit_request").EditRequest("", "", "")
    assert request == defaults


def test_reloading_scripts_runs_the_code_as_it_is_on_the_disk(work: Path) -> None:
    room("sequencer.queue_timer").edit_queue()
    before = room("sequencer.edit_queue")
    # What the operator Reload Scripts has the window do at its next turn.
    bpy.utils.load_scripts(reload_scripts=True)
    room("sequencer.queue_timer").edit_queue()
    assert room("sequencer.edit_queue") is not before
    assert not bpy.ops.tokenflow.edit_strip.poll()
