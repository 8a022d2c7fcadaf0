"""Moving scenes with their exact masks, depth, optical flow and occlusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .camera import Camera
from .captions import full_caption
from .render import render
from .scene import Scene, sample_scene
from .surfaces import GROUND, OBJECT, SKY, first_hits

Array = NDArray[Any]

MOTIONS = ("roll", "bounce", "orbit", "spin", "dolly")
SAME_POINT = 0.02
"""Two hits nearer to each other than this, in world units, are one point of a surface."""


@dataclass(frozen=True)
class Clip:
    """A rendered clip of F frames.

    frames: uint8 [F, H, W, 3]. masks: float32 [F, H, W], the object's share of each pixel.
    depths: float32 [F, H, W], distance along the viewing axis, inf in the sky.
    flows: float32 [F - 1, H, W, 2], where each pixel's surface point of frame t lies in frame
    t + 1, less where it was, as (x, y) in pixels. visible: bool [F - 1, H, W], whether that point
    is seen in frame t + 1 (inside the picture and not hidden).
    """

    scenes: tuple[Scene, ...]
    caption: str
    frames: Array
    masks: Array
    depths: Array
    flows: Array
    visible: Array


def move(start: Scene, motion: str, frames: int) -> tuple[Scene, ...]:
    """The scenes of a clip that begins near `start`.

    roll: the object crosses the picture (a ball rolls). bounce: it crosses in hops. orbit: the
    camera circles it. spin: it turns on the spot. dolly: the camera comes nearer.
    """
    if motion not in MOTIONS:
        raise ValueError(f"A toy clip moves by one of {', '.join(MOTIONS)}, not by {motion!r}.")
    times = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    return tuple(_at(start, motion, float(time)) for time in times)


def _at(start: Scene, motion: str, time: float) -> Scene:
    z = start.position[1]
    if motion == "roll":
        x = -0.9 + 1.8 * time
        return replace(start, position=(x, z), lift=0.0, roll=(x + 0.9) / start.size)
    if motion == "bounce":
        lift = 0.7 * abs(float(np.sin(2 * np.pi * time)))
        return replace(start, position=(-0.7 + 1.4 * time, z), lift=lift)
    if motion == "orbit":
        angle, distance = (time - 0.5) * 0.5, float(np.hypot(start.camera[0], start.camera[2]))
        camera = (distance * np.sin(angle), 2.0 + 0.3 * time, -distance * np.cos(angle))
        centred = replace(start, position=(0.0, 0.0), lift=0.0, target=(0.0, 1.1, 0.0))
        return replace(centred, camera=camera)
    if motion == "spin":
        return replace(start, position=(0.0, 0.0), lift=0.0, yaw=start.yaw + 1.6 * time)
    x, y, depth = start.camera
    return replace(start, camera=(x, y, depth * (1.12 - 0.22 * time)))


def render_clip(scenes: Sequence[Scene], height: int, width: int, *, lit: bool = True) -> Clip:
    """Draws the scenes of a clip with all their exact measurements."""
    pictures = [render(scene, height, width, lit=lit) for scene in scenes]
    pairs = [optical_flow(scene, following, height, width) for scene, following in pairwise(scenes)]
    flows = [flow for flow, _ in pairs]
    visible = [seen for _, seen in pairs]
    return Clip(
        scenes=tuple(scenes),
        caption=full_caption(scenes[0]),
        frames=np.stack([picture.image for picture in pictures]),
        masks=np.stack([picture.coverage for picture in pictures]),
        depths=np.stack([depth_map(scene, height, width) for scene in scenes]),
        flows=np.stack(flows) if flows else np.zeros((0, height, width, 2), np.float32),
        visible=np.stack(visible) if visible else np.zeros((0, height, width), bool),
    )


def sample_clip(
    seed: int, motion: str, frames: int, height: int, width: int, **chosen: Any
) -> Clip:
    """A random clip; the same seed with another look, shape, ground or sky is the exact edit."""
    start = sample_scene(np.random.default_rng(seed), **chosen)
    return render_clip(move(start, motion, frames), height, width)


def edited(clip: Clip, **changes: Any) -> Clip:
    """The exact truth of an edit: the same clip with attributes replaced, as `look="blue"`."""
    scenes = [replace(scene, **changes) for scene in clip.scenes]
    return render_clip(scenes, *clip.frames.shape[1:3])


def depth_map(scene: Scene, height: int, width: int) -> Array:
    """Distance along the viewing axis at pixel centres, float32 [H, W], inf in the sky."""
    camera = Camera.of(scene, height, width)
    rays = camera.rays()
    distance = first_hits(scene, camera.position, rays).distance
    return np.asarray((camera.depth(rays) * distance).reshape(height, width))


def optical_flow(scene: Scene, following: Scene, height: int, width: int) -> tuple[Array, Array]:
    """Exact flow float32 [H, W, 2] and visibility bool [H, W] from one scene to the next."""
    camera, later = (Camera.of(each, height, width) for each in (scene, following))
    rays = camera.rays()
    surface = first_hits(scene, camera.position, rays)
    is_object, is_sky = surface.kind == OBJECT, surface.kind == SKY
    on_ground = surface.kind == GROUND
    points = np.zeros_like(rays)
    points[:, on_ground] = camera.position[:, None] + (
        rays[:, on_ground] * surface.distance[on_ground]
    )
    rigid = following.local_from_world.T @ surface.local[:, is_object]
    points[:, is_object] = rigid * np.float32(following.size) + following.centre[:, None]
    offsets = points - later.position[:, None]
    # The sky is infinitely far: only the camera's rotation moves it.
    offsets[:, is_sky] = rays[:, is_sky]
    target = later.project(offsets)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height))).reshape(2, -1)
    flow = np.nan_to_num(target - grid).astype(np.float32)

    inside = (target >= -0.5).all(0)
    inside &= (target[0] < width - 0.5) & (target[1] < height - 0.5)
    length = np.sqrt((offsets * offsets).sum(0))
    seen = first_hits(following, later.position, offsets / np.maximum(length, 1e-6))
    nearest = np.abs(seen.distance - np.where(is_sky, 0, length)) < SAME_POINT + 1e-3 * length
    visible = inside & np.where(is_sky, seen.kind == SKY, nearest & (seen.kind == surface.kind))
    return flow.reshape(2, height, width).transpose(1, 2, 0), visible.reshape(height, width)
