"""Pictures of a scene: albedo, one light, ambient light, shadow, mirror looks and haze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .albedos import METALS
from .camera import Camera
from .scene import Scene
from .surfaces import GROUND, OBJECT, SKY, Surface, first_hits, is_shadowed
from .textures import ground_albedo, object_albedo, rgb, sky_colour

Array = NDArray[Any]
Colour = tuple[float, float, float]

LIGHT: dict[str, tuple[Colour, Colour]] = {
    "blue": ((1.0, 0.96, 0.88), (0.34, 0.38, 0.44)),
    "sunset": ((1.0, 0.74, 0.52), (0.36, 0.29, 0.33)),
    "cloudy": ((0.42, 0.42, 0.43), (0.50, 0.51, 0.53)),
    "night": ((0.46, 0.50, 0.62), (0.24, 0.26, 0.36)),
}
"""Linear RGB of the direct and the ambient light under each sky."""
HAZE: dict[str, Colour] = {
    "blue": (0.68, 0.80, 0.90),
    "sunset": (0.85, 0.52, 0.30),
    "cloudy": (0.60, 0.62, 0.64),
    "night": (0.08, 0.10, 0.22),
}
GAMMA = 1.25
SHOULDER = 0.8
"""Linear value above which brightness is compressed, so that nothing clips to pure white."""


@dataclass(frozen=True)
class Picture:
    """image: uint8 [H, W, 3] RGB; coverage: float32 [H, W], the object's share of each pixel."""

    image: Array
    coverage: Array


def render(scene: Scene, height: int, width: int, *, samples: int = 2, lit: bool = True) -> Picture:
    """Draws a scene with samples x samples rays a pixel.

    lit: False draws bare albedo, the same in every light: what a test of the flow compares.
    """
    camera = Camera.of(scene, height, width)
    rays = camera.rays(samples)
    surface = first_hits(scene, camera.position, rays)
    linear = _shade(scene, camera.position, rays, surface, lit)
    over = np.maximum(linear - SHOULDER, 0) / (1 - SHOULDER)
    linear = np.minimum(linear, SHOULDER) + (1 - SHOULDER) * (1 - np.exp(-over))
    linear = _pool(linear.reshape(height * samples, width * samples, 3), samples)
    image = (np.clip(linear, 0, 1) ** (1 / GAMMA) * 255 + 0.5).astype(np.uint8)
    is_object = (surface.kind == OBJECT).astype(np.float32)
    return Picture(image, _pool(is_object.reshape(height * samples, width * samples), samples))


def _pool(values: Array, samples: int) -> Array:
    h, w, *rest = values.shape
    cells = values.reshape(h // samples, samples, w // samples, samples, *rest)
    return np.asarray(cells.mean((1, 3), dtype=np.float32))


def _shade(scene: Scene, origin: Array, rays: Array, surface: Surface, lit: bool) -> Array:
    """Linear RGB [N, 3] that each ray brings back."""
    colour = np.empty((rays.shape[1], 3), np.float32)
    sky, ground, body = (surface.kind == kind for kind in (SKY, GROUND, OBJECT))
    colour[sky] = sky_colour(scene, *rays[:, sky])
    distance = surface.distance[ground]
    points = origin[:, None] + rays[:, ground] * distance
    if lit:
        colour[ground] = _shade_ground(scene, points, distance)
        colour[body] = _shade_object(scene, origin, rays, surface, body)
    else:
        colour[ground] = ground_albedo(scene, points[0], points[2], np.zeros_like(distance))
        is_plain = scene.look not in METALS
        metal = None if is_plain else rgb(METALS[scene.look])
        colour[body] = object_albedo(scene, surface.local[:, body].T) if is_plain else metal
    return colour


def _shade_ground(scene: Scene, points: Array, distance: Array, *, shadow: bool = True) -> Array:
    direct, ambient = (rgb(colour) for colour in LIGHT[scene.sky])
    albedo = ground_albedo(scene, points[0], points[2], distance)
    towards = scene.light_direction
    lambert = np.full(points.shape[1], max(float(towards[1]), 0.25), np.float32)
    openness = np.ones((points.shape[1], 1), np.float32)
    if shadow:
        lambert[is_shadowed(scene, points, towards)] = 0
        size = scene.size
        gap = float(np.exp(-2 * scene.lift / size))
        offset = points - scene.centre[:, None]
        away = (offset[0] ** 2 + offset[2] ** 2) / (size * size)
        openness = (1 - 0.55 * np.exp(away * -1.3) * gap)[:, None]
    lit = albedo * (ambient * openness + direct * lambert[:, None])
    haze = 0.75 * (1 - np.exp(-np.maximum(distance - 6, 0) * np.float32(0.03)))[:, None]
    return np.asarray(lit * (1 - haze) + haze * rgb(HAZE[scene.sky]))


def _shade_object(scene: Scene, origin: Array, rays: Array, surface: Surface, body: Array) -> Array:
    direct, ambient = (rgb(colour) for colour in LIGHT[scene.sky])
    view, normal = rays[:, body].T, surface.normal[:, body].T
    towards = scene.light_direction
    facing = (view * normal).sum(1, keepdims=True)
    mirrored = view - 2 * facing * normal
    lambert = np.clip(normal @ towards, 0, 1)[:, None]
    highlight = np.clip(mirrored @ towards, 0, 1)[:, None]
    rim = (1 - np.abs(facing)) ** 3
    if scene.look in METALS:
        points = origin + view * surface.distance[body, None]
        seen = _reflection(scene, points, mirrored, surface.distance[body])
        # Mostly a studio's soft boxes: a true mirror is camouflaged by the ground it stands on.
        boxes = 0.55 + 0.45 * np.sin(7 * mirrored[:, 1:2] + 3 * mirrored[:, :1] + 1)
        side = 0.6 + 0.4 * (normal @ towards)[:, None]
        studio = boxes * (ambient + 0.8 * direct * side)
        tinted = rgb(METALS[scene.look]) * (0.25 * seen + 0.75 * studio)
        return np.asarray(tinted * (1 - 0.5 * rim) + direct * highlight**40)
    albedo = object_albedo(scene, surface.local[:, body].T)
    hemisphere = 0.70 + 0.30 * normal[:, 1:2]
    lit = albedo * (ambient * hemisphere * 1.05 + direct * lambert)
    lit = lit + direct * (scene.gloss * 0.75 * highlight**28)
    if scene.gloss > 0.3:
        sheen = 0.25 * scene.gloss * rim
        lit = lit * (1 - sheen) + sheen * ambient * 1.6
    return np.asarray(lit)


def _reflection(scene: Scene, points: Array, mirrored: Array, distance: Array) -> Array:
    """What a mirror at `points` [N, 3] shows in the directions `mirrored` [N, 3]."""
    seen = np.empty_like(mirrored)
    up = mirrored[:, 1] > -0.002
    seen[up] = sky_colour(scene, *mirrored[up].T)
    down = mirrored[~up]
    reach = np.clip(points[~up, 1] / -down[:, 1], 0, 60)
    hits = (points[~up] + down * reach[:, None]).T
    seen[~up] = _shade_ground(scene, hits, reach + distance[~up], shadow=False)
    return seen
