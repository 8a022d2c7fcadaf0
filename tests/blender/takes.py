"""The takes of a strip: listed, switched, compared, edited again, deleted with their files."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Strip
from project import add_images, choose, new_project, pixels, room, shown

FRAMES = 12


def make_take(source: Strip, folder: Path, grey: float, **settings: object) -> Strip:
    """A result as an edit leaves it: pictures of one grey, `edit.json`, and the strip above."""
    scene = bpy.context.scene
    frames = room("sequencer.strip_alone").frames_of(scene, source)
    folder.mkdir(parents=True)
    image = bpy.data.images.new("grey", *frames.size)
    colour = np.array([grey, grey, grey, 1.0], np.float32)
    image.pixels.foreach_set(np.tile(colour, frames.size[0] * frames.size[1]))
    pictures = [folder / f"{n:05d}.png" for n in range(frames.count)]
    for picture in pictures:
        image.save(filepath=str(picture))
    bpy.data.images.remove(image)
    request = room("tokenflow_engine.client.edit_request").EditRequest(
        **{"source": str(folder / "gone"), "prompt": "a ball", "output": str(folder), **settings}
    )
    (folder / "edit.json").write_text(json.dumps({"format": 1, "request": request.to_json()}))
    result = room("tokenflow_engine.client.progress").EditResult(
        output=str(folder),
        frame_count=frames.count,
        width=frames.size[0],
        height=frames.size[1],
        fps=None,
        seconds={},
    )
    add = room("sequencer.result_strip").add_result_strip
    return add(scene, source, frames, pictures, request, result)


def _strips():
    return bpy.context.scene.sequence_editor.strips


def _takes(strip: Strip):
    return room("sequencer.takes").takes_of(bpy.context.scene, strip)


def _two_takes(work: Path) -> tuple[str, str, str]:
    """Names of the source and of two takes: one of dark grey, above it one of light grey."""
    source = add_images()
    dark = make_take(source, work / "dark", 0.25, prompt="a blue ball", seed=3)
    light = make_take(source, work / "light", 0.75, prompt="a gold ball", seed=4)
    choose(source)
    return source.name, dark.name, light.name


def _grey(work: Path) -> int:
    """The grey in the middle of the third frame, 0 to 255."""
    return int(shown(bpy.context.scene, 3, work / "shown.png")[60, 80, 0])


def _about(grey: int, wanted: int) -> bool:
    return abs(grey - wanted) <= 2


def test_every_edit_of_a_strip_and_of_its_edits_is_a_take(work: Path) -> None:
    source, dark, light = _two_takes(work)
    again = make_take(_strips()[dark], work / "again", 0.5)
    for name in (source, dark, light, again.name):
        takes = _takes(_strips()[name])
        assert [take.name for take in takes.takes] == [dark, light, again.name]
        assert [strip.name for strip in takes.originals] == [source]
    assert _takes(add_images(channel=9)) is None
    assert _takes(None) is None


def test_switching_shows_one_take_and_mutes_the_others(work: Path) -> None:
    source, dark, light = _two_takes(work)
    for name, grey in ((dark, 64), (light, 191)):
        uid = _strips()[name].tokenflow.uid
        assert bpy.ops.tokenflow.switch_take(take=uid) == {"FINISHED"}
        assert _takes(_strips()[source]).shown.name == name
        assert _about(_grey(work), grey)
        assert not _strips()[source].mute
    assert bpy.ops.tokenflow.switch_take(original=True) == {"FINISHED"}
    assert _takes(_strips()[source]).shown is None
    assert [_strips()[name].mute for name in (source, dark, light)] == [False, True, True]


def test_the_pieces_of_a_take_that_was_cut_are_one_take(work: Path) -> None:
    source, dark, light = _two_takes(work)
    # `split` needs a Sequencer on the screen; what it leaves is a copy with the same marks.
    piece = make_take(_strips()[source], work / "piece", 0.5)
    piece.tokenflow.uid = _strips()[dark].tokenflow.uid
    takes = _takes(_strips()[source])
    assert sorted(len(take.strips) for take in takes.takes) == [1, 2]
    bpy.ops.tokenflow.switch_take(take=_strips()[light].tokenflow.uid)
    assert _strips()[dark].mute and piece.mute


def test_takes_are_the_same_after_saving_and_reloading(work: Path) -> None:
    source, dark, light = _two_takes(work)
    bpy.ops.tokenflow.switch_take(take=_strips()[dark].tokenflow.uid)
    _strips()[light].name = "My best one"
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(work / "shot.blend"))
    takes = _takes(_strips()[source])
    assert [take.name for take in takes.takes] == [dark, "My best one"]
    assert takes.shown.name == dark
    assert takes.takes[0].folder == work / "dark"


def test_a_new_take_shows_instead_of_the_one_before(work: Path) -> None:
    source, dark, _light = _two_takes(work)
    bpy.ops.tokenflow.switch_take(take=_strips()[dark].tokenflow.uid)
    newest = make_take(_strips()[source], work / "newest", 0.5)
    room("sequencer.delivery")._show_alone(bpy.context.scene, newest)
    assert _takes(newest).shown.name == newest.name
    assert [take.is_shown for take in _takes(newest).takes] == [False, False, True]


def test_edit_again_fills_in_what_a_take_was_made_with_and_selects_its_source(work: Path) -> None:
    source, dark, _light = _two_takes(work)
    choose(_strips()[dark])
    settings = bpy.context.scene.tokenflow
    settings.frames_folder = "//mine"
    assert bpy.ops.tokenflow.edit_again(take=_strips()[dark].tokenflow.uid) == {"FINISHED"}
    assert (settings.prompt, settings.seed) == ("a blue ball", 3)
    assert settings.frames_folder == "//mine"
    assert bpy.context.scene.sequence_editor.active_strip.name == source
    assert [strip.name for strip in _strips() if strip.select] == [source]
    template = room("sequencer.settings").request_template(settings)
    assert template.prompt == "a blue ball"


def test_deleting_a_take_deletes_its_own_files_and_shows_another(work: Path) -> None:
    source, dark, light = _two_takes(work)
    (work / "light" / "notes.txt").write_text("mine")
    (work / "light" / "99999.png").write_text("mine too")
    uid = _strips()[light].tokenflow.uid
    assert bpy.ops.tokenflow.delete_take(take=uid) == {"FINISHED"}
    assert [strip.name for strip in _strips()] == [source, dark]
    assert sorted(f.name for f in (work / "light").iterdir()) == ["99999.png", "notes.txt"]
    assert len(list((work / "dark").iterdir())) == FRAMES + 1
    assert _takes(_strips()[source]).shown.name == dark
    bpy.ops.tokenflow.delete_take(take=_strips()[dark].tokenflow.uid)
    assert not (work / "dark").exists()
    assert _takes(_strips()[source]) is None


def test_files_that_something_else_shows_stay(work: Path) -> None:
    source, dark, _light = _two_takes(work)
    other = _strips().new_image("elsewhere", str(work / "dark" / "00003.png"), 9, 40)
    assert room("sequencer.takes").others_that_need(_takes(_strips()[source]).takes[0])
    bpy.ops.tokenflow.delete_take(take=_strips()[dark].tokenflow.uid)
    assert dark not in _strips()
    assert len(list((work / "dark").glob("*.png"))) == FRAMES
    assert other.name in _strips()


def test_files_stay_where_that_is_wanted(work: Path) -> None:
    _source, dark, _light = _two_takes(work)
    bpy.ops.tokenflow.delete_take(take=_strips()[dark].tokenflow.uid, delete_files=False)
    assert dark not in _strips()
    assert len(list((work / "dark").glob("*.png"))) == FRAMES


def test_the_buttons_say_why_they_are_grey(work: Path) -> None:
    add_images()
    for name in ("switch_take", "delete_take", "edit_again", "compare_takes"):
        assert not getattr(bpy.ops.tokenflow, name).poll()
    new_project()
    assert not bpy.ops.tokenflow.switch_take.poll()


def _state() -> list[tuple]:
    editor = bpy.context.scene.sequence_editor
    strips = [(s.name, s.channel, s.mute, s.select, s.blend_alpha) for s in editor.strips]
    return [*strips, (editor.active_strip.name,)]


def test_a_comparison_parts_the_two_where_it_is_told_and_leaves_nothing(work: Path) -> None:
    scene = new_project(61, 47)
    _source, dark, light = _two_takes(work)
    comparison = room("sequencer.comparison")
    bpy.ops.tokenflow.switch_take(take=_strips()[light].tokenflow.uid)
    before = _state()
    comparison.begin_comparison(scene, _strips()[dark], _strips()[light])
    for position in (0.2, 0.5, 0.8):
        assert comparison.set_position(scene, position)
        row = shown(scene, 3, work / "shown.png")[20, :, 0]
        edge = round(position * 61)
        assert np.abs(row[: edge - 8] - 64).max(initial=0) <= 2, (position, row)
        assert np.abs(row[edge + 8 :] - 191).max(initial=0) <= 2, (position, row)
    comparison.end_comparison(scene)
    assert _state() == before
    assert not comparison.set_position(scene, 0.5)
    assert _about(int(shown(scene, 3, work / "shown.png")[20, 30, 0]), 191)


def test_a_comparison_with_the_original_shows_its_pixels(work: Path) -> None:
    scene = new_project(61, 47)
    source, _dark, light = _two_takes(work)
    comparison = room("sequencer.comparison")
    comparison.begin_comparison(scene, _strips()[source], _strips()[light])
    comparison.set_position(scene, 1.0)
    got = shown(scene, 3, work / "shown.png")[:, :50, :3]
    original = pixels(Path(bpy.path.abspath(_strips()[source].directory)) / "00002.png")
    original = original[:, :50, :3]
    assert np.abs(got - original).max() == 0
    comparison.end_comparison(scene)


def test_strips_at_different_times_are_not_compared(work: Path) -> None:
    source, dark, _light = _two_takes(work)
    far = add_images(channel=7, start=100)
    before = _state()
    for left, right in ((far.name, dark), (source, far.name)):
        try:
            room("sequencer.comparison").begin_comparison(
                bpy.context.scene, _strips()[left], _strips()[right]
            )
        except Exception as error:
            assert error.code == "bad_request" and error.remedy
        else:
            raise AssertionError("nothing was raised")
    assert _state() == before


def test_a_comparison_that_blender_died_in_is_gone_when_its_file_is_opened(work: Path) -> None:
    source, _dark, light = _two_takes(work)
    room("sequencer.comparison").begin_comparison(
        bpy.context.scene, _strips()[source], _strips()[light]
    )
    count = len(_strips())
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(work / "shot.blend"))
    assert len(_strips()) == count - 1
    assert not [strip for strip in _strips() if strip.type == "WIPE"]
