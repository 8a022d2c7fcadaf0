"""The slider between fidelity and freedom on the scene's settings."""

from __future__ import annotations

from pathlib import Path

import bpy
from project import room


def _settings():
    return bpy.context.scene.tokenflow


def _template():
    return room("sequencer.settings").request_template(_settings())


def _is_custom() -> bool:
    return room("sequencer.settings").is_custom(_settings())


def test_a_new_scene_stands_in_the_middle_with_the_engines_defaults(work: Path) -> None:
    assert abs(_settings().freedom - 0.5) < 1e-3
    assert not _is_custom()
    _settings().freedom = 0.5
    defaults = room("tokenflow_engine.client.edit_request").EditRequest("", "", "")
    assert _template() == defaults


def test_the_slider_sets_the_strengths_of_the_request(work: Path) -> None:
    strengths = room("tokenflow_engine.client.strengths")
    for freedom in (0.0, 0.13, 0.5, 0.77, 1.0):
        _settings().freedom = freedom
        assert abs(_settings().freedom - freedom) < 1e-3
        assert not _is_custom()
        for name, value in strengths.strengths_at(freedom).items():
            assert abs(getattr(_template(), name) - value) < 1e-4, (freedom, name)


def test_a_strength_set_by_hand_makes_it_custom_and_the_slider_ends_that(work: Path) -> None:
    _settings().pnp_features = 0.35
    assert _is_custom()
    _settings().editor = "sdedit"
    assert not _is_custom(), "SDEdit injects no features"
    _settings().editor = "pnp"
    _settings().freedom = 0.25
    assert not _is_custom()
    assert abs(_settings().pnp_features - 0.9) < 1e-4


def test_what_a_preset_sets_shows_on_the_slider(work: Path) -> None:
    presets = room("sequencer.preset_list")
    preset = room("sequencer.preset_file").Preset("Mine", {"guidance_scale": 5.0})
    presets.apply_preset(_settings(), preset)
    assert _is_custom()


def test_it_is_kept_with_the_file(work: Path) -> None:
    _settings().freedom = 0.8
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(work / "shot.blend"))
    assert abs(_settings().freedom - 0.8) < 1e-3
    assert not _is_custom()
