"""The frames read from a strip are the Sequencer's, to the bit."""

from __future__ import annotations

import random
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Strip
from project import (
    FOOTAGE,
    add_images,
    add_movie,
    new_project,
    pixels,
    read_strip,
    room,
    source_pixels,
)


def _read(strip: Strip, folder: Path) -> list[np.ndarray]:
    return [pixels(file) for file in read_strip(strip, folder)]


def _assert_same(pictures: list[np.ndarray], frames: range) -> None:
    assert len(pictures) == len(frames)
    for picture, frame in zip(pictures, frames, strict=True):
        assert np.array_equal(picture, source_pixels(frame)), frame


def test_a_movie_strip_is_read_to_the_bit(work: Path) -> None:
    _assert_same(_read(add_movie(), work), range(12))


def test_an_image_strip_is_read_to_the_bit(work: Path) -> None:
    _assert_same(_read(add_images(), work), range(12))


def test_a_trimmed_strip_gives_its_visible_frames_only(work: Path) -> None:
    strip = add_images(start=20)
    if hasattr(strip, "left_handle"):
        strip.left_handle, strip.right_handle = 23, 29
    else:
        strip.frame_final_start, strip.frame_final_end = 23, 29
    _assert_same(_read(strip, work), range(3, 9))


def test_a_strip_before_frame_0_is_read(work: Path) -> None:
    _assert_same(_read(add_images(start=-5), work), range(12))


def test_reversed_frames_come_reversed(work: Path) -> None:
    strip = add_movie()
    strip.use_reverse_frames = True
    pictures = _read(strip, work)
    _assert_same(pictures[::-1], range(12))


def test_view_transform_and_resolution_of_the_scene_do_not_matter(work: Path) -> None:
    scene = new_project(1920, 1080)
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.exposure = 2.0
    scene.render.resolution_percentage = 30
    scene.render.dither_intensity = 2.0
    _assert_same(_read(add_images(), work), range(12))


def test_transform_flip_and_opacity_stay_outside_the_pictures(work: Path) -> None:
    strip = add_images()
    strip.transform.scale_x = 0.37
    strip.transform.rotation = 0.3
    strip.transform.offset_y = 11.5
    strip.use_flip_x = True
    strip.blend_alpha = 0.4
    _assert_same(_read(strip, work), range(12))


def test_what_a_crop_leaves_is_read_to_the_bit(work: Path) -> None:
    rng = random.Random(2)
    strip = add_images()
    height, width, _channels = source_pixels(0).shape
    for turn in range(4):
        left, right, bottom, top = (rng.randrange(12) for _side in range(4))
        crop = strip.crop
        crop.min_x, crop.max_x, crop.min_y, crop.max_y = left, right, bottom, top
        pictures = _read(strip, work / str(turn))
        for frame, picture in enumerate(pictures):
            expected = source_pixels(frame)[bottom : height - top, left : width - right]
            assert np.array_equal(picture, expected), (left, right, bottom, top, frame)


def test_strips_around_it_and_muted_channels_do_not_matter(work: Path) -> None:
    strip = add_images(channel=2)
    editor = bpy.context.scene.sequence_editor
    editor.strips.new_effect(
        name="white",
        type="COLOR",
        channel=3,
        frame_start=1,
        **{"length" if bpy.app.version >= (5, 0) else "frame_end": 40},
    ).color = (1, 1, 1)
    add_movie(channel=1)
    strip.mute = True
    editor.channels[2].mute = True
    _assert_same(_read(strip, work), range(12))


def test_a_strip_inside_a_meta_strip_is_read(work: Path) -> None:
    strip = add_images()
    meta = bpy.context.scene.sequence_editor.strips.new_meta("meta", 5, 1)
    strip.move_to_meta(meta)
    _assert_same(_read(strip, work), range(12))


def test_animated_framing_is_rendered_in_the_scenes_frame(work: Path) -> None:
    scene = new_project(61, 47)
    strip = add_images(start=1)
    strip.transform.offset_x = 0
    strip.transform.keyframe_insert("offset_x", frame=1)
    strip.transform.offset_x = 110
    strip.transform.keyframe_insert("offset_x", frame=12)
    pictures = _read(strip, work)
    assert {picture.shape for picture in pictures} == {(47, 61, 3)}
    assert np.array_equal(pictures[0], source_pixels(0))
    assert not np.any(pictures[-1]), "the picture has left the frame"
    assert scene.frame_current == 1


def test_reading_leaves_the_project_as_it_was(work: Path) -> None:
    scene = bpy.context.scene
    strip = add_images(start=4)
    add_movie(channel=3)
    scene.frame_set(7)
    before = _state()
    _read(strip, work)
    assert _state() == before


def test_reading_that_stops_half_way_leaves_the_project_as_it_was(work: Path) -> None:
    scene = bpy.context.scene
    strip = add_images()
    before = _state()
    frames = room("sequencer.strip_alone").frames_of(scene, strip)
    reading = room("sequencer.strip_frames").read(scene, strip, frames, work, here=True)
    reading.advance()
    reading.close()
    assert _state() == before


def _state() -> tuple[object, ...]:
    scene = bpy.context.scene
    return (
        len(bpy.data.scenes),
        len(bpy.data.actions),
        scene.frame_current,
        scene.render.filepath,
        scene.render.resolution_x,
        scene.view_settings.view_transform,
        [(s.name, s.mute, s.channel, s.select) for s in scene.sequence_editor.strips_all],
        scene.sequence_editor.active_strip.name,
    )


def test_an_unreadable_picture_is_an_error_not_a_black_frame(work: Path) -> None:
    broken = work / "pictures"
    broken.mkdir()
    for file in sorted((FOOTAGE / "images").glob("*.png"))[:4]:
        (broken / file.name).write_bytes(file.read_bytes())
    strip = add_images(folder=broken)
    (broken / "00002.png").write_bytes(b"no picture")
    try:
        _read(strip, work / "frames")
    except Exception as error:
        assert error.code == "unreadable_source"
        assert "00002.png" in error.details
    else:
        raise AssertionError("nothing was raised")
    assert len(bpy.data.scenes) == 1
