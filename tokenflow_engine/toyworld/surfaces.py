"""What each ray of a scene meets first: the sky, the ground or the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intersections import BOUNDING_RADIUS, MISS, intersect
from .scene import Scene

Array = NDArray[Any]

SKY, GROUND, OBJECT = 0, 1, 2
HORIZON = np.float32(-1e-3)
"""Rays that point less far down than this see the sky: they'd meet the ground beyond sight."""


@dataclass(frozen=True)
class Surface:
    """First hits of N rays.

    kind: int8 [N], one of SKY, GROUND, OBJECT. distance: float32 [N] along the unit rays, inf in
    the sky. normal: float32 [3, N] outward in the world, zero in the sky. local: float32 [3, N]
    the point in the object's own axes and size, zero off the object.
    """

    kind: Array
    distance: Array
    normal: Array
    local: Array


def first_hits(scene: Scene, origin: Array, directions: Array) -> Surface:
    """Casts unit rays [3, N] from one origin [3]."""
    count = directions.shape[1]
    kind = np.zeros(count, np.int8)
    distance = np.full(count, np.inf, np.float32)
    normal, local = np.zeros((3, count), np.float32), np.zeros((3, count), np.float32)
    down = directions[1] < HORIZON
    kind[down] = GROUND
    distance[down] = -origin[1] / directions[1, down]
    normal[1, down] = 1

    candidates = _near_object(scene, origin[:, None], directions)
    rays = directions[:, candidates]
    origins = np.broadcast_to(origin[:, None], rays.shape)
    t, facing, o, d = _hit_object(scene, origins, rays)
    first = (t < MISS / 2) & (t < distance[candidates])
    index = candidates[first]
    kind[index] = OBJECT
    distance[index] = t[first]
    normal[:, index] = facing[:, first]
    local[:, index] = o[:, first] + d[:, first] * (t[first] / np.float32(scene.size))
    return Surface(kind, distance, normal, local)


def is_shadowed(scene: Scene, points: Array, towards: Array) -> Array:
    """Whether the object stands between ground points [3, N] and the light [3]; bool [N]."""
    shadowed = np.zeros(points.shape[1], bool)
    directions = np.broadcast_to(towards[:, None], points.shape)
    candidates = _near_object(scene, points, directions)
    t, *_ = _hit_object(scene, points[:, candidates], directions[:, candidates])
    shadowed[candidates] = t < MISS / 2
    return shadowed


def _near_object(scene: Scene, origins: Array, directions: Array) -> Array:
    """Indices of the rays that pass the object's bounding ball, in front of their origins."""
    offset = origins - scene.centre[:, None]
    along = (offset * directions).sum(0)
    closest = (offset * offset).sum(0) - along * along
    radius = np.float32(BOUNDING_RADIUS * scene.size)
    return np.flatnonzero((closest < radius * radius) & (along < radius))


def _hit_object(
    scene: Scene, origins: Array, directions: Array
) -> tuple[Array, Array, Array, Array]:
    """World distances, world normals, and the rays in the object's axes and size."""
    rotation, size = scene.local_from_world, np.float32(scene.size)
    o = rotation @ ((origins - scene.centre[:, None]) / size)
    d = rotation @ directions
    t, normal = intersect(scene.shape, o, d)
    normal = rotation.T @ normal
    normal /= np.sqrt((normal * normal).sum(0)) + np.float32(1e-8)
    return np.where(t < MISS / 2, t * size, MISS), normal, o, d
