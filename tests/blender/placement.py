"""Where the result strip lands, and what is kept on it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Scene, Strip
from project import (
    add_images,
    add_movie,
    assert_result_shows_the_same,
    choose,
    new_project,
    pixels,
    place_result,
    place_unchanged,
    read_strip,
    room,
    shown,
)


def _span(strip: Strip) -> tuple[int, int]:
    names = room("sequencer.compatibility")
    return names.left_handle(strip), names.right_handle(strip)


def test_start_and_length_are_the_sources(work: Path) -> None:
    source = add_images(start=20)
    result = place_unchanged(source, work)
    assert result.type == "IMAGE"
    assert _span(result) == _span(source) == (20, 32)
    assert result.channel == 2


def test_a_trimmed_source_gives_a_result_over_the_visible_frames(work: Path) -> None:
    source = add_movie(start=20)
    if hasattr(source, "left_handle"):
        source.left_handle, source.right_handle = 23, 29
    else:
        source.frame_final_start, source.frame_final_end = 23, 29
    assert _span(place_unchanged(source, work)) == (23, 29)


def test_the_first_free_channel_above_is_taken(work: Path) -> None:
    source = add_images(channel=1, start=1)
    add_movie(channel=2, start=12)
    add_movie(channel=3, start=-10)
    add_movie(channel=4, start=13)
    add_movie(channel=5, start=5)
    assert _span(source) == (1, 13)
    # Channel 4 begins at the very frame at which the source has ended.
    assert place_unchanged(choose(source), work).channel == 4


def test_muted_and_locked_channels_are_left_out(work: Path) -> None:
    source = add_images()
    channels = bpy.context.scene.sequence_editor.channels
    channels[2].mute = True
    channels[3].lock = True
    assert place_unchanged(source, work).channel == 4


def test_no_free_channel_is_said_and_nothing_is_added(work: Path) -> None:
    source = add_images(channel=128)
    try:
        place_unchanged(source, work)
    except Exception as error:
        assert error.code == "bad_request"
        assert error.remedy
    else:
        raise AssertionError("nothing was raised")
    assert len(bpy.context.scene.sequence_editor.strips) == 1


def test_an_untouched_source_and_its_result_show_the_same_pixels(work: Path) -> None:
    assert_result_shows_the_same(add_images(), work, frame=3)


def test_a_scaled_and_moved_source_keeps_its_framing(work: Path) -> None:
    source = add_images()
    transform = source.transform
    transform.scale_x, transform.scale_y, transform.offset_x = 1.7, 0.6, 13.25
    assert_result_shows_the_same(source, work, frame=3)


def test_a_rotated_source_with_its_own_pivot_keeps_its_framing(work: Path) -> None:
    source = add_images()
    source.transform.rotation = math.radians(30)
    source.transform.origin = (0.1, 0.8)
    source.transform.offset_y = -9
    assert_result_shows_the_same(source, work, frame=3)


def test_a_flipped_source_keeps_its_framing(work: Path) -> None:
    source = add_images()
    source.use_flip_x = True
    source.transform.offset_x = 21
    assert_result_shows_the_same(source, work, frame=3)


def test_a_cropped_source_keeps_its_framing(work: Path) -> None:
    source = add_images()
    crop = source.crop
    crop.min_x, crop.max_x, crop.min_y, crop.max_y = 3, 8, 0, 5
    source.transform.offset_x = -12
    assert_result_shows_the_same(source, work, frame=3)


def test_a_half_transparent_source_keeps_its_opacity(work: Path) -> None:
    source = add_images()
    source.blend_alpha = 0.5
    assert_result_shows_the_same(source, work, frame=3)


def test_an_animated_source_shows_the_same_pixels(work: Path) -> None:
    source = add_images()
    source.transform.keyframe_insert("offset_x", frame=1)
    source.transform.offset_x = 40
    source.transform.keyframe_insert("offset_x", frame=12)
    assert_result_shows_the_same(source, work, frame=6)


def _white_result(scene: Scene, source: Strip, folder: Path, size: tuple[int, int]) -> Strip:
    """A result of another size than the source, as the engine makes it on request."""
    frames = room("sequencer.strip_alone").frames_of(scene, source)
    assert frames.size == (61, 47)
    folder.mkdir()
    for number in range(frames.count):
        white = bpy.data.images.new("white", *size)
        white.pixels.foreach_set(np.ones(size[0] * size[1] * 4, np.float32))
        white.save(filepath=str(folder / f"{number:05d}.png"))
        bpy.data.images.remove(white)
    return place_result(source, frames, folder, size)


def _lit(scene: Scene, file: Path) -> tuple[int, int, float, float]:
    """Width, height and centre of what is not black."""
    lit = shown(scene, 3, file).any(axis=2)
    columns, rows = np.flatnonzero(lit.any(axis=0)), np.flatnonzero(lit.any(axis=1))
    return len(columns), len(rows), columns.mean(), rows.mean()


def test_a_result_of_another_size_fills_the_sameplace_unchanged(work: Path) -> None:
    scene = new_project(200, 200)
    source = add_images()
    source.transform.scale_x = source.transform.scale_y = 2.0
    result = _white_result(scene, source, work / "result", (128, 96))
    source.mute = True
    # 61 x 47 at twice their size, in the middle of the frame.
    assert np.allclose(_lit(scene, work / "shown.png"), (122, 94, 99.5, 99.5), atol=1)
    assert result.elements[0].orig_width == 128


def test_a_result_of_another_aspect_fills_the_part_that_was_edited(work: Path) -> None:
    scene = new_project(200, 200)
    source = add_images()
    source.transform.scale_x = source.transform.scale_y = 2.0
    _white_result(scene, source, work / "result", (128, 128))
    source.mute = True
    # The engine cuts 47 x 47 out of the middle of 61 x 47.
    assert np.allclose(_lit(scene, work / "shown.png"), (94, 94, 99.5, 99.5), atol=1)


def test_a_source_that_was_moved_and_trimmed_since_is_followed(work: Path) -> None:
    source = add_images(start=10)
    scene = bpy.context.scene
    frames = room("sequencer.strip_alone").frames_of(scene, source)
    read_strip(source, work / "result")
    if hasattr(source, "content_start"):
        source.content_start = 40
        source.left_handle = 44
    else:
        source.frame_start = 40
        source.frame_final_start = 44
    source.channel = 5
    result = place_result(source, frames, work / "result")
    assert _span(result) == (40, 52)
    assert result.channel == 6


def test_a_source_inside_a_meta_strip_gets_its_result_there(work: Path) -> None:
    source = add_images()
    meta = bpy.context.scene.sequence_editor.strips.new_meta("meta", 5, 1)
    source.move_to_meta(meta)
    result = place_unchanged(source, work)
    assert result.name in meta.strips
    assert result.channel == source.channel + 1


def test_prefetching_is_on_again_afterwards(work: Path) -> None:
    editor = bpy.context.scene.sequence_editor
    editor.use_prefetch = True
    place_unchanged(add_images(), work)
    assert editor.use_prefetch


def test_the_settings_are_kept_on_the_strip_and_survive_saving(work: Path) -> None:
    source = add_images()
    result_name, source_name = place_unchanged(source, work).name, source.name
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    new_project()
    bpy.ops.wm.open_mainfile(filepath=str(work / "shot.blend"))
    strips = bpy.context.scene.sequence_editor.strips
    kept = strips[result_name].tokenflow
    assert (kept.prompt, kept.seed, kept.guidance_scale) == ("a blue ball", 7, 5.5)
    assert kept.source_name == source_name
    assert kept.source_uid == strips[source_name].tokenflow.uid != kept.uid
    request = room("tokenflow_engine.client.edit_request").EditRequest
    assert request.from_json(json.loads(kept.request)).seed == 7
    assert json.loads(kept.result)["frame_count"] == 12


def test_frames_beside_a_saved_project_are_named_relative_to_it(work: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    result = place_unchanged(add_images(), work)
    assert result.directory.startswith("//result")
    assert result.tokenflow.folder.startswith("//result")
    assert Path(bpy.path.abspath(result.directory)) == work / "result"


def test_a_blank_picture_of_any_size_tells_a_strip_its_size(work: Path) -> None:
    strips = bpy.context.scene.sequence_editor.strips
    module = room("sequencer.stand_in")
    for channel, size in enumerate(((1, 1), (8, 8), (61, 47), (192, 65), (4097, 33)), 1):
        with module.stand_in(size) as blank:
            strip = strips.new_image(
                name="blank", filepath=str(blank), channel=channel, frame_start=1
            )
        assert (strip.elements[0].orig_width, strip.elements[0].orig_height) == size
        file = work / f"{channel}.jpg"
        file.write_bytes(module.blank_jpeg(*size))
        picture = pixels(file)
        assert picture.shape == (size[1], size[0], 3) and picture.min() == picture.max() == 128
