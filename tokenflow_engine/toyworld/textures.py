"""Procedural albedo of objects and grounds, and the colour of the skies."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scene import Scene

Array = NDArray[Any]
Colour = tuple[float, float, float]

TABLE = 256


@lru_cache(maxsize=32)
def noise_table(seed: int) -> Array:
    """Random values in [0, 1) at the corners of the noise lattice, float32 [256 * 256]."""
    return np.random.default_rng(seed).random(TABLE * TABLE, dtype=np.float32)


def noise(table: Array, x: Array, z: Array) -> Array:
    """Smooth value noise in [0, 1) at the points (x, z), with period 256."""
    column, row = np.floor(x), np.floor(z)
    s, t = x - column, z - row
    s = s * s * (3 - 2 * s)
    t = t * t * (3 - 2 * t)
    left, top = column.astype(np.int32) & (TABLE - 1), row.astype(np.int32) & (TABLE - 1)
    right, bottom = (left + 1) & (TABLE - 1), (top + 1) & (TABLE - 1)
    left, right = left * TABLE, right * TABLE
    upper = table[left + top] * (1 - s) + table[right + top] * s
    lower = table[left + bottom] * (1 - s) + table[right + bottom] * s
    return np.asarray(upper * (1 - t) + lower * t)


def rgb(colour: Colour) -> Array:
    return np.asarray(colour, np.float32)


def tint(value: Array, colour: Colour, base: Colour = (0, 0, 0)) -> Array:
    """base + value * colour, [N] -> [N, 3]."""
    return rgb(base) + value[:, None] * rgb(colour)


def ground_albedo(scene: Scene, x: Array, z: Array, distance: Array) -> Array:
    """Linear RGB albedo of the ground at world points (x, 0, z) seen from `distance`, [N, 3].

    Fine detail fades with the distance, as it would through a lens, so that it doesn't alias.
    """
    table = noise_table(scene.texture_seed)
    x, z = x + np.float32(scene.ground_offset[0]), z + np.float32(scene.ground_offset[1])
    near = np.exp(distance * np.float32(-0.1))
    if scene.ground == "grass":
        value = 0.45 * noise(table, x * 0.9, z * 0.9) + 0.3 * noise(table, x * 3.1 + 40, z * 3.1)
        value += 0.35 * near * (noise(table, x * 9 + 7, z * 6) - 0.5) + 0.12
        return tint(value, (0.26, 0.44, 0.10), (0.07, 0.24, 0.03))
    if scene.ground == "sand":
        broad, fine = noise(table, x * 0.7, z * 0.7), noise(table, x * 4, z * 4)
        angle = np.float32(scene.ground_angle)
        along = x * np.cos(angle) + z * np.sin(angle)
        ripples = np.sin(along * 5 + broad * 6)
        value = 0.9 + 0.12 * (broad - 0.5) + near * (0.09 * (fine - 0.5) + 0.06 * ripples)
        return tint(value, (0.86, 0.70, 0.43))
    if scene.ground == "snow":
        value = 0.55 * noise(table, x * 0.8, z * 0.8) + 0.3 * near * noise(table, x * 2.6, z * 2.6)
        return tint(value, (0.20, 0.16, 0.10), (0.62, 0.67, 0.75))
    if scene.ground == "stone":
        value = 0.75 + 0.30 * (noise(table, x * 1.1, z * 1.1) - 0.5)
        value += near * 0.30 * (noise(table, x * 4 + 9, z * 4) - 0.5)
        cracks = np.abs(noise(table, x * 1.7 + 60, z * 1.7) - 0.5) < 0.03
        value *= np.where(cracks, 1 - 0.6 * near, 1)
        return tint(value, (0.50, 0.50, 0.52))
    raise ValueError(f"The toy world has no ground called {scene.ground!r}.")


def object_albedo(scene: Scene, local: Array) -> Array:
    """Linear RGB albedo at points of the object in its own axes, [N, 3] -> [N, 3].

    A solid texture: it moves and turns with the object, which makes the optical flow exact.
    """
    x, y, z = local.T
    table = noise_table(scene.texture_seed)
    if scene.look == "wooden":
        radius = np.sqrt((x + 0.3) ** 2 + (z - 0.2) ** 2)
        rings = np.sin(radius * 20 + noise(table, x * 2 + 50, y * 1.2 + z) * 4) * 0.5 + 0.5
        return tint(rings, (0.32, 0.20, 0.10), (0.36, 0.18, 0.06))
    if scene.look == "checkered":
        # Cell borders lie off the axes: a border through a face's plane would shimmer.
        cells = sum(np.floor(axis * 2.2 + 0.5).astype(np.int32) for axis in (x, y, z))
        return tint((cells & 1).astype(np.float32), (0.84, 0.84, 0.82), (0.06, 0.06, 0.07))
    if scene.look == "marble":
        warp = noise(table, x * 2.2 + 30, y * 2.2 + z * 1.4) + 0.5 * noise(
            table, x * 5 + 90, y * 5 - z * 3
        )
        veins = np.abs(np.sin((x + 0.6 * y + 0.8 * z) * 2.0 + warp * 5))
        value = np.clip(veins * 1.6, 0, 1)
        return tint(value, (0.66, 0.62, 0.56), (0.16, 0.22, 0.26))
    return np.broadcast_to(scene.plain_colour, local.shape)


def sky_colour(scene: Scene, x: Array, y: Array, z: Array) -> Array:
    """Linear RGB of the sky in the unit directions (x, y, z), [N, 3]."""
    up = np.clip(y, 0, 1)
    if scene.sky == "blue":
        height = np.clip(up * 1.9, 0, 1)[:, None]
        clear = rgb((0.70, 0.85, 0.97)) * (1 - height) + rgb((0.16, 0.42, 0.86)) * height
        cover = (np.clip((_clouds(scene, x, up, z) - 0.52) * 4, 0, 1) * 0.85)[:, None]
        return np.asarray(clear * (1 - cover) + cover * rgb((0.97, 0.97, 0.98)))
    if scene.sky == "cloudy":
        value = 0.60 + 0.42 * (_clouds(scene, x, up, z) - 0.5)
        return tint(value, (0.97, 1.0, 1.04))
    if scene.sky == "sunset":
        low, high = np.clip(up * 3.5, 0, 1)[:, None], np.clip((up - 0.15) * 2.2, 0, 1)[:, None]
        colour = rgb((1.0, 0.66, 0.26)) * (1 - low) + rgb((0.88, 0.36, 0.34)) * low
        colour = colour * (1 - high) + rgb((0.30, 0.18, 0.44)) * high
        toward = _cosine(scene.sun_disc, x, y, z)
        colour += tint(0.4 * np.exp((toward - 1) * 14), (0.9, 0.5, 0.1))
        return _disc(colour, np.clip((toward - 0.9955) * 1200, 0, 1), (1, 0.95, 0.72))
    if scene.sky == "night":
        height = np.clip(up * 1.8, 0, 1)[:, None]
        colour = rgb((0.10, 0.12, 0.27)) * (1 - height) + rgb((0.015, 0.02, 0.09)) * height
        toward = _cosine(scene.moon_disc, x, y, z)
        return _disc(colour, np.clip((toward - 0.9962) * 1500, 0, 1), (0.96, 0.95, 0.86))
    raise ValueError(f"The toy world has no sky called {scene.sky!r}.")


def _clouds(scene: Scene, x: Array, up: Array, z: Array) -> Array:
    table, offset = noise_table(scene.texture_seed), np.float32(scene.cloud_offset)
    spread = 1 / (up + np.float32(0.18))
    broad = noise(table, x * spread * 1.3 + 90 + offset, z * spread * 1.3)
    fine = noise(table, x * spread * 3.4 + 20 + offset * np.float32(1.3), z * spread * 3.4)
    return np.asarray(broad * 0.65 + fine * 0.35)


def _cosine(direction: Colour, x: Array, y: Array, z: Array) -> Array:
    a, b, c = rgb(direction) / np.float32(np.linalg.norm(direction))
    return np.asarray(x * a + y * b + z * c)


def _disc(sky: Array, cover: Array, colour: Colour) -> Array:
    return np.asarray(sky * (1 - cover[:, None]) + cover[:, None] * rgb(colour))
