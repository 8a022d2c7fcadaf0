"""A preview of a strip with a real engine: its frames, approved, rerolled, and nothing left."""

from __future__ import annotations

import time
from pathlib import Path

import bpy
from project import add_images, pixels, room

FRAMES = 12


def _set_up(work: Path):
    """A saved project with a strip selected, and settings for a short edit."""
    add_images(channel=2, start=11)
    settings = bpy.context.scene.tokenflow
    settings.prompt = "a blue ball on grass"
    settings.steps = settings.inversion_steps = 2
    settings.use_size, settings.size = True, (64, 64)
    settings.preview_frames = 3
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    return bpy.context.scene.tokenflow


def _queue():
    return room("sequencer.queue_timer").edit_queue()


def _preview():
    """The only preview of the strip; other checks have left theirs of other projects."""
    uid = bpy.context.scene.sequence_editor.active_strip.tokenflow.uid
    (edit,) = [edit for edit in _queue().edits if edit.kind == "preview" and edit.uid == uid]
    return edit


def _wait() -> None:
    deadline = time.monotonic() + 240
    while _queue().unfinished:
        assert time.monotonic() < deadline
        _queue().poll()
        time.sleep(0.01)


def test_frames_are_spread_over_the_strip(work: Path) -> None:
    strip = add_images(start=11)
    frames = room("sequencer.strip_alone").frames_of(bpy.context.scene, strip)
    for wanted in range(2, FRAMES + 4):
        sampled = frames.sampled(wanted)
        numbers = list(sampled.numbers)
        assert sampled.count == len(numbers) == min(wanted, FRAMES)
        assert numbers[0] >= 11 and numbers[-1] < 23
        before, after = numbers[0] - 11, 22 - numbers[-1]
        assert abs(before - after) <= 1, (wanted, numbers)


def test_a_preview_shows_edited_frames_and_leaves_the_project_alone(work: Path) -> None:
    _set_up(work)
    names = [strip.name for strip in bpy.context.scene.sequence_editor.strips_all]
    assert bpy.ops.tokenflow.preview_edit() == {"FINISHED"}
    edit = _preview()
    assert list(edit.frames.numbers) == [12, 16, 20]
    pictures = room("sequencer.preview_pictures")
    shown = pictures.pictures_of(edit)
    assert [picture.name for picture in shown] == ["00000.png", "00001.png", "00002.png"]
    for picture in shown:
        assert pixels(picture).shape[:2] == (64, 64)
        # Without a window Blender makes no icons, so that only the window's test sees them.
        assert pictures.icon_of_picture(picture) >= 0
    assert [strip.name for strip in bpy.context.scene.sequence_editor.strips_all] == names
    assert not (work / "shot_tokenflow").exists()


def test_approving_starts_the_edit_as_it_was_previewed(work: Path) -> None:
    settings = _set_up(work)
    settings.seed = 5
    bpy.ops.tokenflow.preview_edit()
    edit = _preview()
    folder = Path(edit.request.output)
    # What is typed after the preview was made is not what was approved.
    settings.prompt, settings.seed = "a red cone", 6
    assert bpy.ops.tokenflow.approve_preview(edit_id=edit.id) == {"FINISHED"}
    _wait()
    whole = _queue().edits[-1]
    assert edit not in _queue().edits
    assert whole.error is None
    assert (whole.request.prompt, whole.request.seed) == ("a blue ball on grass", 5)
    assert whole.request.preview_frames == 0
    assert whole.result.frame_count == FRAMES
    assert whole.result_name in bpy.context.scene.sequence_editor.strips
    assert not folder.exists()


def test_a_reroll_draws_another_seed_and_replaces_the_preview(work: Path) -> None:
    settings = _set_up(work)
    bpy.ops.tokenflow.preview_edit()
    first = _preview()
    before = [pixels(p) for p in room("sequencer.preview_pictures").pictures_of(first)]
    assert bpy.ops.tokenflow.reroll_preview(edit_id=first.id) == {"FINISHED"}
    _wait()
    second = _preview()
    assert second.id != first.id
    assert second.request.seed == settings.seed != first.request.seed
    assert abs(settings.variation - 0.3) < 1e-6
    after = [pixels(p) for p in room("sequencer.preview_pictures").pictures_of(second)]
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    assert not Path(first.request.output).exists()


def test_another_prompt_replaces_the_preview_too(work: Path) -> None:
    settings = _set_up(work)
    bpy.ops.tokenflow.preview_edit()
    settings.prompt = "a gold cube on sand"
    bpy.ops.tokenflow.preview_edit()
    assert _preview().request.prompt == "a gold cube on sand"
