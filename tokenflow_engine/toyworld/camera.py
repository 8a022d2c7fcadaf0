"""A pinhole camera: pixels to rays and points back to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scene import Scene

Array = NDArray[Any]


@dataclass(frozen=True)
class Camera:
    """position [3] and the unit axes right, up, forward [3, 3] in the world; tangent of half the
    vertical field of view; picture size in pixels. Pixel (x, y) = (0, 0) is the centre of the
    upper left pixel."""

    position: Array
    axes: Array
    tangent: float
    height: int
    width: int

    @classmethod
    def of(cls, scene: Scene, height: int, width: int) -> Camera:
        position = np.asarray(scene.camera, np.float32)
        forward = np.asarray(scene.target, np.float32) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0, 1, 0)).astype(np.float32)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(right, forward), forward]).astype(np.float32)
        return cls(position, axes, float(np.tan(scene.field_of_view / 2)), height, width)

    def rays(self, samples: int = 1) -> Array:
        """Unit directions through the centres of samples x samples cells of every pixel,
        float32 [3, height * samples * width * samples], rows of the finer picture first."""
        h, w = self.height * samples, self.width * samples
        v = 1 - (np.arange(h, dtype=np.float32) + 0.5) * 2 / h
        u = ((np.arange(w, dtype=np.float32) + 0.5) * 2 / w - 1) * (self.width / self.height)
        right, up = np.meshgrid(u * self.tangent, v * self.tangent)
        local = np.stack([right.ravel(), up.ravel(), np.ones(h * w)]).astype(np.float32)
        local /= np.sqrt((local * local).sum(0))
        return np.asarray(self.axes.T @ local, np.float32)

    def depth(self, offsets: Array) -> Array:
        """Distance along the viewing axis of points given relative to the camera, [3, N] -> [N]."""
        return np.asarray(self.axes[2] @ offsets)

    def project(self, offsets: Array) -> Array:
        """Pixel (x, y) of points (or directions at infinity) relative to the camera.

        [3, N] -> [2, N]; NaN behind the camera.
        """
        right, up, forward = self.axes.astype(np.float64) @ offsets.astype(np.float64)
        forward = np.where(forward > 1e-6, forward, np.nan)
        u = right / forward / self.tangent * (self.height / self.width)
        v = up / forward / self.tangent
        return np.stack([(u + 1) * self.width / 2 - 0.5, (1 - v) * self.height / 2 - 0.5])
