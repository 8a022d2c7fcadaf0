"""The toy world: exact masks, depth and flow on cases with a known answer; words; clips."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from tokenflow_engine.client.embedded_words import FUNCTION_WORDS, GROUNDS, LOOKS
from tokenflow_engine.toyworld import (
    ATTRIBUTES,
    MOTIONS,
    VOCABULARY,
    Scene,
    depth_map,
    edited,
    full_caption,
    move,
    optical_flow,
    parse_caption,
    random_caption,
    render,
    render_clip,
    sample_clip,
    sample_scene,
    scene_attributes,
    unknown_words,
)
from tokenflow_engine.toyworld.camera import Camera
from tokenflow_engine.toyworld.scene import FOOT
from tokenflow_engine.toyworld.surfaces import GROUND, OBJECT, SKY, first_hits

REPOSITORY = Path(__file__).parents[1]
SIZE = 96
AHEAD = Scene(camera=(0.0, 1.5, -6.0), target=(0.0, 1.5, 0.0), size=1.5)
"""A camera that looks straight ahead at the centre of a ball of radius 1.5, 6 units away."""


def warp(following: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Frame t as the flow finds it in frame t + 1."""
    size = len(flow)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float32)
    return np.asarray(cv2.remap(following, grid + flow, None, cv2.INTER_CUBIC))


def test_a_ball_ahead_covers_the_disc_that_geometry_gives() -> None:
    mask = render(AHEAD, SIZE, SIZE, samples=4).coverage
    # A ball of radius r at distance d is seen as a circle of tangent r / sqrt(d^2 - r^2).
    tangent = 1.5 / np.sqrt(6**2 - 1.5**2)
    radius = tangent / np.tan(AHEAD.field_of_view / 2) * SIZE / 2
    assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    rows, columns = np.nonzero(mask > 0.5)
    assert rows.mean() == pytest.approx(SIZE / 2 - 0.5, abs=0.1)
    assert columns.mean() == pytest.approx(SIZE / 2 - 0.5, abs=0.1)


def test_depth_is_the_distance_along_the_viewing_axis() -> None:
    depth = depth_map(AHEAD, SIZE + 1, SIZE + 1)
    assert depth[SIZE // 2, SIZE // 2] == pytest.approx(6 - 1.5, abs=1e-3)
    assert np.isinf(depth[0, 0])
    # The ground seen through the lowest row lies where that ray reaches y = 0.
    slope = np.tan(AHEAD.field_of_view / 2) * SIZE / (SIZE + 1)
    assert depth[-1, 0] == pytest.approx(1.5 / slope, rel=1e-3)


@pytest.mark.parametrize("shape", ATTRIBUTES["shape"])
def test_rays_meet_a_shape_on_its_surface_and_its_normal_faces_them(shape: str) -> None:
    scene = replace(sample_scene(np.random.default_rng(3)), shape=shape, lift=0.0)
    camera = Camera.of(scene, SIZE, SIZE)
    rays = camera.rays()
    surface = first_hits(scene, camera.position, rays)
    on_object = surface.kind == OBJECT
    x, y, z = surface.local[:, on_object].astype(np.float64)
    beside = np.hypot(x, z)
    outside = {
        "ball": np.abs(np.sqrt(x**2 + y**2 + z**2) - 1),
        "cube": np.abs(np.maximum(np.maximum(abs(x), abs(y)), abs(z)) - 0.85),
        "cone": np.minimum(abs(beside - (1 - y) / 2), abs(y + 1)),
        "cylinder": np.minimum(abs(beside - 0.72), np.minimum(abs(y - 1), abs(y + 1))),
    }[shape]
    assert outside.max() < 1e-3
    normal = surface.normal[:, on_object]
    assert np.abs((normal**2).sum(0) - 1).max() < 1e-4
    assert ((normal * rays[:, on_object]).sum(0) < 1e-3).all()


@pytest.mark.parametrize("shape", ATTRIBUTES["shape"])
def test_a_shape_stands_on_the_ground(shape: str) -> None:
    scene = replace(sample_scene(np.random.default_rng(4)), shape=shape, lift=0.0)
    camera = Camera.of(scene, SIZE, SIZE)
    rays = camera.rays()
    surface = first_hits(scene, camera.position, rays)
    heights = (camera.position[:, None] + rays * surface.distance)[1, surface.kind == OBJECT]
    assert -1e-3 < heights.min() < 0.3
    assert scene.centre[1] == pytest.approx(scene.size * FOOT[shape])


def test_a_still_scene_has_no_flow_and_everything_stays_visible() -> None:
    scene = sample_scene(np.random.default_rng(5))
    flow, visible = optical_flow(scene, scene, SIZE, SIZE)
    assert np.abs(flow).max() < 1e-2
    assert visible.mean() > 0.999


def test_a_ball_that_slides_sideways_flows_by_the_projected_distance() -> None:
    step = 0.2
    moved = replace(AHEAD, position=(step, 0.0))
    flow, visible = optical_flow(AHEAD, moved, SIZE + 1, SIZE + 1)
    centre = SIZE // 2
    pixels = step / (6 - 1.5) / np.tan(AHEAD.field_of_view / 2) * (SIZE + 1) / 2
    # The camera looks along +z with y up, so +x is to the left.
    assert flow[centre, centre] == pytest.approx([-pixels, 0], abs=1e-2)
    mask = render(AHEAD, SIZE + 1, SIZE + 1).coverage
    assert np.abs(flow[mask == 0]).max() < 1e-2
    # The strip of background that the ball moves over is hidden in the next frame.
    hidden = ~visible & (mask == 0)
    assert 0 < hidden.sum() < 0.1 * mask.sum()
    assert np.nonzero(hidden)[1].max() < centre


def test_a_turning_camera_moves_the_sky_by_the_angle() -> None:
    angle = 0.02
    target = (-6 * float(np.tan(angle)), 1.5, 0.0)
    flow, visible = optical_flow(AHEAD, replace(AHEAD, target=target), SIZE, SIZE)
    sky = np.isinf(depth_map(AHEAD, SIZE, SIZE))
    focal = SIZE / 2 / np.tan(AHEAD.field_of_view / 2)
    # Turning to the right moves the picture to the left, by f tan(angle) near the axis.
    middle = sky & (np.abs(np.arange(SIZE) - SIZE / 2) < 3)
    assert flow[middle][:, 0] == pytest.approx(-focal * np.tan(angle), rel=0.02)
    assert visible[:, 4:][sky[:, 4:]].all()


@pytest.mark.parametrize(("motion", "shape"), [*product(MOTIONS, ("ball", "cube", "cone"))])
def test_warping_the_next_frame_by_the_flow_gives_this_frame(motion: str, shape: str) -> None:
    size = 192
    start = sample_scene(
        np.random.default_rng(6), shape=shape, look="marble", ground="sand", sky="cloudy"
    )
    scenes = move(start, motion, 9)[3:5]
    clip = render_clip(scenes, size, size, lit=False)
    flow, (mask, following_mask) = clip.flows[0], clip.masks
    frame, following = clip.frames.astype(np.float32)
    error = np.abs(warp(following, flow) - frame).mean(-1)
    unmoved = np.abs(following - frame).mean(-1)
    # Pixels that mix two surfaces have no one motion.
    near_edge = cv2.dilate(((mask > 0) & (mask < 1)).astype(np.uint8), np.ones((5, 5))) > 0
    plain = clip.visible[0] & ~near_edge
    on_object, elsewhere = plain & (mask == 1), plain & (mask == 0)
    assert error[on_object].mean() < min(3, 0.25 * unmoved[on_object].mean())
    assert error[elsewhere].mean() < max(0.1, 0.7 * unmoved[elsewhere].mean())

    # The solid texture's coordinates say the same without a texture's fine detail.
    outside = cv2.dilate((following_mask < 1).astype(np.uint8), np.ones((5, 5)))
    inside = on_object & (warp(outside.astype(np.float32), flow) < 0.01)
    local, following_local = (local_points(scene, size) for scene in scenes)
    wrong = np.abs(warp(following_local, flow) - local).max(-1)[inside]
    assert np.median(wrong) < 0.003
    assert wrong.max() < 0.08


def local_points(scene: Scene, size: int) -> np.ndarray:
    camera = Camera.of(scene, size, size)
    local = first_hits(scene, camera.position, camera.rays()).local
    return np.ascontiguousarray(local.T).reshape(size, size, 3)


def test_half_a_turn_of_a_cube_hides_everything_but_its_top() -> None:
    scene = Scene(shape="cube", yaw=0.3, size=1.3, camera=(0.0, 4.0, -6.0))
    _, visible = optical_flow(scene, replace(scene, yaw=0.3 + np.pi), SIZE, SIZE)
    mask = render(scene, SIZE, SIZE).coverage == 1
    is_top = local_points(scene, SIZE)[..., 1] > 0.849
    assert 100 < (is_top & mask).sum() < mask.sum() - 100
    assert visible[is_top & mask].all()
    # Points of the sides within the tolerance of an upper edge are as good as the top.
    assert visible[~is_top & mask].mean() < 0.05


def test_an_edit_of_the_look_changes_the_object_alone() -> None:
    clip = sample_clip(7, "roll", 2, SIZE, SIZE, look="red", shape="ball", ground="snow")
    truth = edited(clip, look="blue")
    assert (truth.masks == clip.masks).all()
    assert (truth.flows == clip.flows).all()
    changed = (truth.frames != clip.frames).any(-1)
    assert not changed[clip.masks == 0].any()
    assert changed[clip.masks == 1].mean() > 0.99
    assert truth.caption == clip.caption.replace("red", "blue")


def test_an_edit_of_the_ground_leaves_the_sky(tmp_path: Path) -> None:
    clip = sample_clip(8, "spin", 1, SIZE, SIZE, look="green", ground="snow")
    truth = edited(clip, ground="sand")
    sky = np.isinf(clip.depths)
    inner = np.stack([cv2.erode(each.astype(np.uint8), np.ones((3, 3))) for each in sky]) > 0
    assert (truth.frames[inner] == clip.frames[inner]).all()
    assert (truth.frames != clip.frames).any(-1)[(clip.masks == 0) & ~sky].mean() > 0.95


def test_the_same_seed_gives_the_same_clip_and_another_seed_another() -> None:
    one, same, other = (sample_clip(seed, "orbit", 2, 48, 48) for seed in (9, 9, 10))
    assert one.scenes == same.scenes
    assert (one.frames == same.frames).all() and (one.flows == same.flows).all()
    assert (one.frames != other.frames).mean() > 0.3


def test_objects_cover_about_a_tenth_to_a_quarter_of_the_picture() -> None:
    rng = np.random.default_rng(11)
    shares = [render(sample_scene(rng), 48, 48, samples=1).coverage.mean() for _ in range(120)]
    assert np.quantile(shares, 0.05) > 0.09
    assert np.quantile(shares, 0.95) < 0.26


def test_nothing_clips_to_pure_white_and_every_ground_is_told_apart() -> None:
    means = {}
    for ground in GROUNDS:
        scene = replace(Scene(look="green", sky="blue", sun_height=1.0), ground=ground)
        picture = render(scene, SIZE, SIZE)
        on_ground = picture.image[-12:][picture.coverage[-12:] == 0]
        assert (on_ground < 255).all(), ground
        means[ground] = on_ground.mean(0)
    for one, other in product(GROUNDS, GROUNDS):
        if one < other:
            assert np.abs(means[one] - means[other]).max() > 25, (one, other)


def test_captions_go_back_to_the_attributes_that_they_name() -> None:
    for look, shape, ground, sky in product(*ATTRIBUTES.values()):
        scene = Scene(look=look, shape=shape, ground=ground, sky=sky)
        assert parse_caption(full_caption(scene)) == dict(scene_attributes(scene))
    assert full_caption(Scene()) == "a red ball on grass under a blue sky"
    assert full_caption(Scene(look="orange", sky="night")) == "an orange ball on grass at night"


def test_random_captions_name_only_what_is_there_in_known_words() -> None:
    rng = np.random.default_rng(12)
    seen = set()
    for _ in range(400):
        scene = sample_scene(rng)
        caption = random_caption(scene, rng)
        assert not unknown_words(caption)
        assert parse_caption(caption).items() <= scene_attributes(scene).items()
        seen.add(len(parse_caption(caption)))
    assert seen == {1, 2, 3, 4} or seen == {0, 1, 2, 3, 4}


def test_words_outside_the_vocabulary_are_named() -> None:
    assert unknown_words("A red Zebra, on grass; a ZEBRA by van Gogh!") == [
        "zebra",
        "by",
        "van",
        "gogh",
    ]
    with pytest.raises(ValueError, match="zebra"):
        parse_caption("a zebra")
    assert not set(LOOKS) & set(GROUNDS)
    assert {*LOOKS, *GROUNDS, *FUNCTION_WORDS} <= VOCABULARY


@pytest.mark.parametrize(
    "wrong", [{"look": "pink"}, {"shape": "ring"}, {"ground": "lava"}, {"sky": "green"}]
)
def test_what_the_world_does_not_have_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        render(replace(Scene(), **wrong), 16, 16)
    with pytest.raises(TypeError, match="colour"):
        sample_scene(np.random.default_rng(0), colour="red")


def read_movie(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    return facts, np.stack([np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader])


def test_the_command_writes_a_clip_and_prints_its_prompt(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tokenflow_engine.toyworld", tmp_path / "clip.mp4"),
            *("--frames", "3", "--size", "64", "--fps", "10", "--look", "gold"),
            *("--truth", tmp_path / "truth.mp4", "--change", "ground=snow"),
        ],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "a gold ball on grass under a blue sky",
        "a gold ball on snow under a blue sky",
    ]
    facts, frames = read_movie(tmp_path / "clip.mp4")
    assert facts["codec"] == "h264" and facts["fps"] == 10
    start = {"look": "gold", "shape": "ball", "ground": "grass", "sky": "blue"}
    exact = sample_clip(11, "roll", 3, 64, 64, **start)
    error = (frames.astype(float) - exact.frames) ** 2
    assert frames.shape == (3, 64, 64, 3)
    assert 10 * np.log10(255**2 / error.mean()) > 34
    _, truth = read_movie(tmp_path / "truth.mp4")
    assert np.abs(truth.astype(float) - edited(exact, ground="snow").frames).mean() < 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "truth.mp4"]


def test_kinds_of_surface_are_told_apart() -> None:
    scene = Scene()
    camera = Camera.of(scene, 3, 3)
    directions = np.array([[0, 0, 0], [1, -1, 0], [0, 0, 1]], np.float32)
    kinds = first_hits(scene, camera.position, directions).kind
    assert list(kinds[:2]) == [SKY, GROUND]
    assert set(kinds) <= {SKY, GROUND, OBJECT}
