"""One picture of the toy world as data: an object on a ground under a sky, a camera, a light."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..client.embedded_words import GROUNDS, LOOKS, SHAPES, SKIES
from .albedos import COLOURS

Vector = tuple[float, float, float]
Array = NDArray[Any]

FOOT: dict[str, float] = {"ball": 1.0, "cube": 0.85, "cone": 1.0, "cylinder": 1.0}
"""Height of a shape's centre above its foot, in units of its size."""
SILHOUETTE: dict[str, float] = {"ball": 3.14, "cube": 3.6, "cone": 2.15, "cylinder": 3.1}
"""Typical area of a shape's silhouette, in units of its size squared."""
SUN_ELEVATION: dict[str, tuple[float, float]] = {
    "blue": (0.55, 1.1),
    "sunset": (0.35, 0.55),
    "cloudy": (0.55, 1.1),
    "night": (0.55, 1.1),
}
"""Lowest and highest elevation of the light under each sky, in radians."""


@dataclass(frozen=True)
class Scene:
    """Everything the renderer needs; replacing one attribute gives the exact truth of an edit.

    Lengths are in world units (y up, the ground is y = 0, the camera looks along +z), angles in
    radians. Random details (texture, gloss, light) are kept apart from the four attributes that
    a caption names, so that `replace(scene, look="blue")` changes nothing else.
    """

    shape: str = "ball"
    look: str = "red"
    ground: str = "grass"
    sky: str = "blue"
    size: float = 1.1
    position: tuple[float, float] = (0.0, 0.0)
    """Where the object's centre stands over the ground, as (x, z)."""
    lift: float = 0.0
    """Height of the object's foot above the ground."""
    yaw: float = 0.0
    roll: float = 0.0
    """Turn about the world's z axis, applied before the yaw: a rolling ball."""
    tumble: float = 0.0
    tumble_axis: Vector = (0.0, 1.0, 0.0)
    camera: Vector = (0.0, 2.0, -6.0)
    target: Vector = (0.0, 1.1, 0.0)
    field_of_view: float = 0.82
    sun_azimuth: float = 0.6
    sun_height: float = 0.5
    """Where the light stands between the lowest (0) and the highest (1) elevation of its sky."""
    sun_disc: Vector = (0.2, 0.05, 1.0)
    moon_disc: Vector = (-0.2, 0.13, 1.0)
    gloss: float = 0.3
    colour_gain: float = 1.0
    colour_shift: Vector = (0.0, 0.0, 0.0)
    ground_offset: tuple[float, float] = (0.0, 0.0)
    ground_angle: float = 0.3
    cloud_offset: float = 0.0
    texture_seed: int = 0

    @property
    def centre(self) -> Array:
        """Centre of the object in the world, float32 [3]."""
        x, z = self.position
        return np.array([x, self.lift + self.size * FOOT[self.shape], z], np.float32)

    @property
    def local_from_world(self) -> Array:
        """Rotation that takes world directions to the object's own axes, float32 [3, 3]."""
        rotation = axis_rotation((0, 1, 0), self.yaw)
        # Only a ball may lie on the ground at any angle; in its place a cube stands upright.
        if self.shape == "ball":
            rotation = rotation @ axis_rotation((0, 0, 1), self.roll)
            rotation = axis_rotation(self.tumble_axis, self.tumble) @ rotation
        return rotation.astype(np.float32)

    @property
    def light_direction(self) -> Array:
        """Unit vector towards the light, float32 [3]."""
        low, high = SUN_ELEVATION[self.sky]
        elevation = low + (high - low) * self.sun_height
        azimuth = self.sun_azimuth
        return np.array(
            [
                np.sin(azimuth) * np.cos(elevation),
                np.sin(elevation),
                -np.cos(azimuth) * np.cos(elevation),
            ],
            np.float32,
        )

    @property
    def plain_colour(self) -> Array:
        """Linear RGB albedo of a plain look with this object's own variation, float32 [3]."""
        colour = np.asarray(COLOURS[self.look]) * self.colour_gain + np.asarray(self.colour_shift)
        return np.clip(colour, 0.01, 1).astype(np.float32)


def axis_rotation(axis: Vector, angle: float) -> Array:
    """Rodrigues' rotation matrix about `axis` by `angle` radians, float64 [3, 3]."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def sample_scene(rng: np.random.Generator, **chosen: Any) -> Scene:
    """A random scene whose object covers roughly 10 to 25 % of the picture.

    chosen: fields of `Scene` to hold fixed. The random draws don't depend on them, so the same
    generator state with another look gives the same picture but for that look.
    """
    unknown = set(chosen) - {field.name for field in fields(Scene)}
    if unknown:
        raise TypeError(f"A scene has no field called {sorted(unknown)[0]}.")
    drawn: dict[str, Any] = {
        "shape": str(rng.choice(SHAPES)),
        "look": str(rng.choice(LOOKS)),
        "ground": str(rng.choice(GROUNDS)),
        "sky": str(rng.choice(SKIES, p=[0.34, 0.22, 0.22, 0.22])),
    }
    drawn |= {name: chosen[name] for name in drawn if name in chosen}
    uniform = rng.uniform
    distance = float(uniform(5.0, 7.0))
    field_of_view = float(uniform(0.75, 0.9))
    area = float(uniform(0.11, 0.19))
    # The picture is 2 tan(fov / 2) wide at unit distance, whatever its number of pixels.
    width = 2 * distance * np.tan(field_of_view / 2)
    size = float(np.sqrt(area * width**2 / SILHOUETTE[drawn["shape"]]))
    is_lifted, lift = rng.random() > 0.8, float(uniform(0.1, 0.7))
    height = float(uniform(1.6, 2.6))
    tumble, tumble_axis = float(uniform(0, 2 * np.pi)), rng.normal(size=3)
    scene = Scene(
        **drawn,
        size=size,
        position=_floats(uniform(-1, 1, 2) * (0.75, 0.5)),
        lift=lift if is_lifted else 0.0,
        yaw=float(uniform(0, 2 * np.pi)),
        tumble=tumble,
        tumble_axis=_floats(tumble_axis),
        camera=(float(uniform(-0.8, 0.8)), height, -distance),
        target=(float(uniform(-0.25, 0.25)), float(uniform(1.0, 1.35)), 0.0),
        field_of_view=field_of_view,
        sun_azimuth=float(uniform(-2.0, 2.0)),
        sun_height=float(uniform(0, 1)),
        sun_disc=(float(uniform(-0.35, 0.35)), float(uniform(0.03, 0.08)), 1.0),
        moon_disc=(float(uniform(-0.35, 0.35)), float(uniform(0.10, 0.18)), 1.0),
        gloss=float(uniform(0.1, 0.6)),
        colour_gain=float(uniform(0.88, 1.12)),
        colour_shift=_floats(uniform(-0.02, 0.02, 3)),
        ground_offset=_floats(uniform(-60, 60, 2)),
        ground_angle=float(uniform(0, 3)),
        cloud_offset=float(uniform(-80, 80)),
        texture_seed=int(rng.integers(1 << 30)),
    )
    return replace(scene, **chosen)


def _floats(values: Array) -> Any:
    return tuple(float(value) for value in values)
