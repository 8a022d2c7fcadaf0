"""Where a ray meets a shape of unit size, in the shape's own axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MISS = np.float32(1e9)
"""Distance of a ray that meets nothing."""
BEHIND = np.float32(1e-3)
"""Hits nearer than this are the point that the ray starts from."""
BOUNDING_RADIUS = 1.48
"""Radius of a ball about the centre that holds every shape."""
CUBE_HALF = np.float32(0.85)
CYLINDER_RADIUS = np.float32(0.72)
CONE_SLOPE = np.float32(0.5)


def intersect(shape: str, origins: Array, directions: Array) -> tuple[Array, Array]:
    """First hit of each ray with a shape.

    origins, directions: float32 [3, N]; directions need not be of unit length.
    Returns distances [N] in units of the directions' length (`MISS` where missed) and outward
    unit normals [3, N] (meaningless where missed).
    """
    if shape == "ball":
        return _ball(origins, directions)
    if shape == "cube":
        return _cube(origins, directions)
    if shape == "cone":
        return _turned(origins, directions, is_cone=True)
    if shape == "cylinder":
        return _turned(origins, directions, is_cone=False)
    raise ValueError(f"The toy world has no shape called {shape!r}.")


def _ball(o: Array, d: Array) -> tuple[Array, Array]:
    a, b, c = (d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - 1
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    near, far = (-b - root) / a, (-b + root) / a
    t = np.where(near > BEHIND, near, far)
    t = np.where((discriminant > 0) & (t > BEHIND), t, MISS)
    return t, o + t * d


def _cube(o: Array, d: Array) -> tuple[Array, Array]:
    inverse = 1 / _away_from_zero(d)
    one, other = (-CUBE_HALF - o) * inverse, (CUBE_HALF - o) * inverse
    entries, exits = np.minimum(one, other), np.maximum(one, other)
    entry, leave = entries.max(0), exits.min(0)
    t = np.where((entry < leave) & (entry > BEHIND), entry, MISS)
    # Only the first axis that gives the entry counts, so that an edge has one normal.
    is_face = np.arange(3)[:, None] == entries.argmax(0)
    return t, np.where(is_face, -np.sign(d), 0).astype(np.float32)


def _turned(o: Array, d: Array, *, is_cone: bool) -> tuple[Array, Array]:
    """A cone (radius 1 at y = -1, apex at y = 1) or a cylinder, both capped."""
    (ox, oy, oz), (dx, dy, dz) = o, d
    if is_cone:
        k, below = CONE_SLOPE**2, 1 - oy
        a = dx * dx + dz * dz - k * dy * dy
        b = ox * dx + oz * dz + k * below * dy
        c = ox * ox + oz * oz - k * below * below
        bottom_radius, top_radius = np.float32(1), np.float32(0)
    else:
        a, b = dx * dx + dz * dz, ox * dx + oz * dz
        c = ox * ox + oz * oz - CYLINDER_RADIUS**2
        bottom_radius = top_radius = CYLINDER_RADIUS
    a = _away_from_zero(a)
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    first, second = (-b - root) / a, (-b + root) / a

    def on_side(t: Array) -> Array:
        return np.asarray((discriminant > 0) & (t > BEHIND) & (np.abs(oy + t * dy) < 1))

    low, high = np.minimum(first, second), np.maximum(first, second)
    side = np.where(on_side(low), low, np.where(on_side(high), high, MISS))
    bottom = _cap(o, d, np.float32(-1), bottom_radius)
    top = _cap(o, d, np.float32(1), top_radius)
    t = np.minimum(np.minimum(side, bottom), top)
    x, z = ox + t * dx, oz + t * dz
    if is_cone:
        length = np.sqrt(x * x + z * z) + np.float32(1e-6)
        slant = np.float32(1 / np.sqrt(1 + CONE_SLOPE**2))
        nx, ny, nz = x / length * slant, np.full_like(x, CONE_SLOPE * slant), z / length * slant
    else:
        nx, ny, nz = x / CYLINDER_RADIUS, np.zeros_like(x), z / CYLINDER_RADIUS
    is_side = t == side
    cap = np.where(t == top, np.float32(1), np.float32(-1))
    normal = np.stack(
        [np.where(is_side, nx, 0), np.where(is_side, ny, cap), np.where(is_side, nz, 0)]
    )
    return t, normal


def _cap(o: Array, d: Array, height: np.float32, radius: np.float32) -> Array:
    t = (height - o[1]) / _away_from_zero(d[1])
    x, z = o[0] + t * d[0], o[2] + t * d[2]
    return np.where((t > BEHIND) & (x * x + z * z < radius * radius), t, MISS)


def _away_from_zero(values: Array) -> Array:
    return np.where(np.abs(values) < 1e-7, np.float32(1e-7), values)
