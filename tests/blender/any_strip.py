"""Every kind of strip: its pictures, and what an edit that changes nothing shows in its place."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import addon_utils
import bpy
import numpy as np
from bpy.types import Scene, Strip, StripModifier
from project import (
    FOOTAGE,
    add_images,
    add_movie,
    assert_result_shows_the_same,
    choose,
    new_project,
    place_unchanged,
    premultiplied,
    read_strip,
    rgba,
    room,
    shown,
)


def _effect(kind: str, channel: int, *inputs: Strip, start: int = 1, length: int = 12) -> Strip:
    named = {f"input{n}": strip for n, strip in enumerate(inputs, 1)}
    since_5_0 = bpy.app.version >= (5, 0)
    if not since_5_0:
        named = {f"seq{n}": strip for n, strip in enumerate(inputs, 1)}
        known = bpy.types.StripsTopLevel.bl_rna.functions["new_effect"].parameters
        if "input1" in known:
            named = {f"input{n}": strip for n, strip in enumerate(inputs, 1)}
    span = {"length": length} if since_5_0 else {"frame_end": start + length}
    strips = bpy.context.scene.sequence_editor.strips
    made = strips.new_effect(
        name=kind.lower(), type=kind, channel=channel, frame_start=start, **span, **named
    )
    return choose(made)


def _transparent(channel: int = 1, start: int = 1) -> Strip:
    return add_images(channel, start, FOOTAGE / "transparent")


def _move(strip: Strip) -> Strip:
    strip.transform.scale_x, strip.transform.scale_y = 0.8, 1.3
    strip.transform.rotation = math.radians(20)
    strip.transform.offset_x = 9.5
    return strip


def _meta(*strips: Strip, channel: int = 5) -> Strip:
    meta = bpy.context.scene.sequence_editor.strips.new_meta("meta", channel, 1)
    for strip in strips:
        strip.move_to_meta(meta)
    return choose(_end(meta, 13))


@contextlib.contextmanager
def _sequencer() -> Iterator[None]:
    """A Sequencer for operators that ask for one, where there is no window."""
    context = bpy.context
    window = context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "SEQUENCE_EDITOR"
    if hasattr(context.workspace, "sequencer_scene"):
        context.workspace.sequencer_scene = context.scene
    with context.temp_override(window=window, area=area, region=area.regions[-1]):
        yield


def _modifier(strip: Strip, kind: str) -> StripModifier:
    if bpy.app.version[:2] != (5, 0):
        return strip.modifiers.new(kind.lower(), kind)
    # There `modifiers.new` crashes where there is no window.
    choose(strip)
    with _sequencer():
        bpy.ops.sequencer.strip_modifier_add(type=kind)
    return strip.modifiers[-1]


def _end(strip: Strip, frame: int) -> Strip:
    setattr(strip, "right_handle" if hasattr(strip, "right_handle") else "frame_final_end", frame)
    return strip


def test_alpha_comes_with_the_pictures_to_the_bit(work: Path) -> None:
    files = read_strip(_transparent(), work / "frames")
    for number, file in enumerate(files):
        expected = rgba(FOOTAGE / "transparent" / f"{number:05d}.png")
        assert len(np.unique(expected[..., 3])) > 100
        assert np.array_equal(rgba(file), expected), number


def test_sixteen_bits_are_read_as_sixteen(work: Path) -> None:
    strip = add_images(folder=FOOTAGE / "deep")
    for number, file in enumerate(read_strip(strip, work / "frames", depth=16)):
        expected = rgba(FOOTAGE / "deep" / f"{number:05d}.png", 65535)
        assert len(np.unique(expected)) > 1000
        worst = np.abs(rgba(file, 65535) - expected).max()
        # Of 65535: Blender computes in single precision.
        assert worst <= 4, (number, worst)


def test_a_meta_strip_is_read_in_its_own_framing(work: Path) -> None:
    inner = _move(add_images(channel=2))
    scene = bpy.context.scene
    meta = _meta(inner, add_movie(channel=1))
    expected = shown(scene, 4, work / "shown.png")
    _move(meta).use_flip_y = True
    meta.blend_alpha = 0.5
    got = rgba(read_strip(meta, work / "frames")[3])
    assert np.array_equal(premultiplied(got), premultiplied(expected))
    assert_result_shows_the_same(meta, work, frame=4)


def test_a_cropped_meta_strip(work: Path) -> None:
    meta = _meta(_move(add_images()))
    meta.crop.min_x, meta.crop.max_y, meta.transform.offset_x = 30, 17, 8
    assert_result_shows_the_same(meta, work, frame=4)


def test_a_meta_strip_in_a_meta_strip_in_a_meta_strip(work: Path) -> None:
    inner = _transparent()
    middle = _meta(inner)
    outer = bpy.context.scene.sequence_editor.strips.new_meta("outer", 7, 1)
    _end(outer, 13)
    middle.move_to_meta(outer)
    outer.mute = True
    outer.transform.offset_x = 40
    for strip in (middle, inner):
        files = read_strip(strip, work / strip.name)
        assert rgba(files[3])[..., :3].any()
    expected = rgba(FOOTAGE / "transparent" / "00003.png")
    assert np.array_equal(rgba(work / "images" / "00003.png"), expected)


def test_a_colour_strip(work: Path) -> None:
    colour = _move(_effect("COLOR", 1))
    colour.color = (0.2, 0.5, 0.9)
    colour.blend_alpha = 0.7
    assert_result_shows_the_same(colour, work, frame=4)


def test_a_text_strip(work: Path) -> None:
    text = _move(_effect("TEXT", 1))
    text.text = "Hello"
    result = assert_result_shows_the_same(text, work, frame=4)
    alpha = rgba(work / "result" / "00003.png")[..., 3]
    assert alpha.min() == 0
    assert alpha.max() == 255
    assert result.blend_type == "ALPHA_OVER"


def test_a_transition(work: Path) -> None:
    first, second = add_images(1), _move(_transparent(2))
    cross = _effect("CROSS", 3, first, second)
    cross.transform.offset_y = 5
    assert_result_shows_the_same(cross, work, frame=6)


def test_effects_of_effects(work: Path) -> None:
    blur = _effect("GAUSSIAN_BLUR", 2, _move(add_images(1)))
    blur.size_x = blur.size_y = 4.0
    glow = _effect("GLOW", 3, blur)
    # Or the images would be seen behind it: Blender hides an effect's own inputs only.
    glow.blend_type = "REPLACE"
    assert_result_shows_the_same(glow, work, frame=6)


def test_a_speed_effect(work: Path) -> None:
    speed = _effect("SPEED", 2, add_images(1))
    speed.speed_control = "MULTIPLY"
    speed.speed_factor = 2.0
    files = read_strip(speed, work / "frames")
    sources = [rgba(file) for file in sorted((FOOTAGE / "images").glob("*.png"))]
    seen = [
        [np.array_equal(rgba(file)[36:83, 49:110], source) for source in sources].index(True)
        for file in files[:4]
    ]
    assert seen[0] == 0
    assert seen[3] > 4, seen
    assert_result_shows_the_same(speed, work, frame=4)


def test_an_adjustment_strip_is_read_with_what_lies_below_it(work: Path) -> None:
    add_images(1)
    hidden = _effect("COLOR", 2)
    hidden.mute = True
    adjustment = _effect("ADJUSTMENT", 3)
    _modifier(adjustment, "BRIGHT_CONTRAST").bright = 0.3
    white = _effect("COLOR", 4)
    white.color = (1.0, 1.0, 1.0)
    white.mute = True
    assert_result_shows_the_same(choose(adjustment), work, frame=5)
    # A transparent part of the frame is part of what the strip shows.
    assert rgba(work / "shown.png")[..., 3].min() == 0


def test_an_adjustment_strip_alone_in_a_meta_strip(work: Path) -> None:
    add_images(1)
    adjustment = _effect("ADJUSTMENT", 3)
    _modifier(adjustment, "BRIGHT_CONTRAST").bright = 0.3
    meta = _meta(adjustment)
    files = read_strip(meta.strips["adjustment"], work / "frames")
    # Blender 4.5 goes on below the meta strip, 5.2 does not: either way it is Blender that decides.
    scene = bpy.context.scene
    scene.sequence_editor.display_stack(meta)
    assert np.array_equal(rgba(files[3]), shown(scene, 4, work / "shown.png"))


def test_a_multicam_strip(work: Path) -> None:
    add_images(1)
    _move(add_movie(2))
    multicam = _effect("MULTICAM", 4)
    multicam.multicam_source = 2
    multicam.blend_type = "REPLACE"
    assert_result_shows_the_same(multicam, work, frame=5)


def test_animated_opacity_is_in_the_pictures(work: Path) -> None:
    strip = add_images()
    strip.blend_alpha = 0.0
    strip.keyframe_insert("blend_alpha", frame=1)
    strip.blend_alpha = 1.0
    strip.keyframe_insert("blend_alpha", frame=12)
    files = read_strip(strip, work / "frames")
    alphas = [int(rgba(file)[..., 3].max()) for file in files]
    assert alphas == sorted(alphas)
    assert (alphas[0], alphas[-1]) == (0, 255)
    result = assert_result_shows_the_same(strip, work, frame=12)
    assert result.blend_alpha == 1.0


def test_the_edge_of_a_crop_that_is_turned_is_all_that_differs(work: Path) -> None:
    strip = add_images()
    strip.crop.min_x, strip.transform.rotation = 7, 0.2
    scene = bpy.context.scene
    result = place_unchanged(strip, work)
    result.mute = True
    expected = premultiplied(shown(scene, 4, work / "source.png"))
    result.mute, scene.sequence_editor.strips["images"].mute = False, True
    got = premultiplied(shown(scene, 4, work / "shown.png"))
    # Blender blends in what lies beyond the crop, which the result has not.
    differing = np.any(expected != got, axis=2).sum()
    assert 0 < differing < 47, differing
    assert np.array_equal(expected[..., 3], got[..., 3])


def test_modifiers_are_in_the_pictures(work: Path) -> None:
    strip = add_images()
    _modifier(strip, "BRIGHT_CONTRAST").bright = 0.2
    _modifier(strip, "CURVES")
    strip.use_flip_x = True
    result = assert_result_shows_the_same(strip, work, frame=3)
    assert result.elements[0].orig_width == 61
    assert not result.modifiers


def test_a_modifier_with_a_mask_is_rendered_in_the_scenes_frame(work: Path) -> None:
    mask = _effect("COLOR", 4)
    mask.color = (1.0, 1.0, 1.0)
    mask.transform.offset_x = 80
    mask.mute = True
    strip = add_images()
    bright = _modifier(strip, "BRIGHT_CONTRAST")
    bright.bright = 0.9
    bright.input_mask_strip = mask
    result = assert_result_shows_the_same(strip, work, frame=3)
    assert result.elements[0].orig_width == 160


def test_a_retimed_strip(work: Path) -> None:
    strip = add_images()
    # `retiming_keys` crashes several versions, the operator none.
    with _sequencer():
        bpy.ops.sequencer.retiming_segment_speed_set(speed=50.0)
    strip.crop.min_x, strip.transform.offset_x = 7, 12
    names = room("sequencer.compatibility")
    length = names.right_handle(strip) - names.left_handle(strip)
    assert length > 18, "the strip was not slowed down"
    result = assert_result_shows_the_same(strip, work, frame=names.left_handle(strip) + 16)
    assert names.right_handle(result) - names.left_handle(result) == length


def test_colours_of_another_space_show_the_same(work: Path) -> None:
    strip = add_images()
    strip.colorspace_settings.name = "Non-Color"
    strip.color_saturation = 0.4
    strip.color_multiply = 0.8
    assert_result_shows_the_same(strip, work, frame=3)


def _other_scene(name: str, size: tuple[int, int]) -> Scene:
    other = bpy.data.scenes.new(name)
    other.render.resolution_x, other.render.resolution_y = size
    return other


def test_a_scene_strip_of_a_sequencer(work: Path) -> None:
    scene = bpy.context.scene
    other = _other_scene("Other", (80, 60))
    inside = other.sequence_editor_create().strips.new_image(
        "inside", str(FOOTAGE / "images" / "00000.png"), 1, 1, fit_method="ORIGINAL"
    )
    _end(inside, 13)
    other.frame_end = 12
    strip = choose(scene.sequence_editor.strips.new_scene("scene", other, 1, 1))
    strip.scene_input = "SEQUENCER"
    _move(strip)
    assert_result_shows_the_same(strip, work, frame=3)


def test_a_scene_strip_of_a_camera(work: Path) -> None:
    addon_utils.enable("cycles")
    scene = bpy.context.scene
    other = _other_scene("Other", (48, 36))
    other.frame_end = 3
    other.render.engine = "CYCLES"
    other.render.film_transparent = True
    other.cycles.samples, other.cycles.use_denoising = 1, False
    mesh = bpy.data.meshes.new("triangle")
    mesh.from_pydata([(-1, -1, 0), (1, -1, 0), (0, 1, 0)], [], [(0, 1, 2)])
    thing = bpy.data.objects.new("triangle", mesh)
    thing.location.x = -1.0
    thing.keyframe_insert("location", frame=1)
    thing.location.x = 1.0
    thing.keyframe_insert("location", frame=3)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location.z = 6.0
    other.camera = camera
    other.world = bpy.data.worlds.new("world")
    for each in (thing, camera):
        other.collection.objects.link(each)
    strip = choose(scene.sequence_editor.strips.new_scene("scene", other, 1, 1))
    strip.use_flip_x = True
    before = project_state()
    files = read_strip(strip, work / "frames")
    after = project_state()
    assert after == before, [(k, after[k], before[k]) for k in after if after[k] != before.get(k)]
    pictures = [rgba(file) for file in files]
    assert {picture.shape for picture in pictures} == {(36, 48, 4)}
    columns = [np.flatnonzero(picture[..., 3].any(axis=0)).mean() for picture in pictures]
    assert columns[0] < columns[1] < columns[2], "the triangle moves to the right"
    assert_result_shows_the_same(strip, work, frame=2)
    assert len(other.collection.objects) == 2


_DEPRECATED = {"use_nodes"}
_VOLATILE = {"depsgraph", "rna_type", "session_uid", "is_evaluated"}


def project_state() -> dict[str, object]:
    """Every plain property of every scene, of what belongs to it, and of every strip."""
    state: dict[str, object] = {"data": [len(getattr(bpy.data, c)) for c in _COLLECTIONS]}
    for scene in bpy.data.scenes:
        owners = {"": scene, "render": scene.render, "images": scene.render.image_settings}
        owners |= {"view": scene.view_settings, "display": scene.display_settings}
        editor = scene.sequence_editor
        if editor is not None:
            owners["editor"] = editor
            owners |= {f"channel {n}": channel for n, channel in enumerate(editor.channels)}
            for strip in editor.strips_all:
                owners[strip.name] = strip
                owners[f"{strip.name} transform"] = strip.transform
                owners[f"{strip.name} crop"] = strip.crop
                owners |= {f"{strip.name} {m.name}": m for m in strip.modifiers}
        for name, owner in owners.items():
            state[f"{scene.name} {name}"] = _plain_properties(owner)
    return state


_COLLECTIONS = ("scenes", "actions", "objects", "cameras", "worlds", "movieclips", "node_groups")


def _plain_properties(owner) -> dict[str, object]:
    found = {}
    for known in owner.bl_rna.properties:
        name = known.identifier
        # The names that 5.2 warns about stand for the same as their followers.
        if name in _VOLATILE or name.startswith(("frame_final", "frame_offset", "animation_")):
            continue
        if name in ("frame_start", "frame_duration") and hasattr(owner, "left_handle"):
            continue
        if known.type == "COLLECTION":
            continue
        if name in _DEPRECATED:
            continue
        value = getattr(owner, name)
        if known.type == "POINTER":
            value = getattr(value, "name", None)
        elif getattr(known, "is_array", False):
            value = tuple(value)
        found[name] = value
    return found


def test_reading_changes_no_property_of_scenes_and_strips(work: Path) -> None:
    scene = new_project()
    add_movie(channel=1)
    inner = _transparent(2)
    _modifier(inner, "BRIGHT_CONTRAST")
    meta = _meta(inner)
    adjustment = _effect("ADJUSTMENT", 6)
    adjustment.mute = True
    scene.sequence_editor.channels[3].mute = True
    scene.view_settings.view_transform = "AgX"
    scene.frame_set(7)
    choose(meta)
    inner.select = True
    scene.sequence_editor.display_stack(meta)
    scene.sequence_editor.active_strip = inner
    before = project_state()
    for strip in (inner, meta, adjustment):
        read_strip(strip, work / strip.name)
        after = project_state()
        assert after == before, [(k, v, before.get(k)) for k, v in after.items() if v != before[k]]
    assert [m.name for m in scene.sequence_editor.meta_stack] == ["meta"]
    assert before["Scene editor"]["active_strip"] == "images"
