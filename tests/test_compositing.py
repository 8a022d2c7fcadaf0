"""An edit laid over its source touches nothing outside of its region."""

from __future__ import annotations

import numpy as np
import pytest

from tokenflow_engine.media.compositing import composite, guided_filter


@pytest.fixture
def disc() -> tuple[np.ndarray, np.ndarray]:
    """A red disc on grey, uint8 (96, 96, 3), and where it is."""
    y, x = np.mgrid[:96, :96]
    inside = (x - 48) ** 2 + (y - 48) ** 2 < 24**2
    picture = np.full((96, 96, 3), 120, np.uint8)
    picture[inside] = (200, 30, 30)
    return picture, inside


def coarse(inside: np.ndarray) -> np.ndarray:
    """The cells that hold any of it, float32 (12, 12)."""
    return np.asarray(inside.reshape(12, 8, 12, 8).any((1, 3)), np.float32)


def test_cells_become_the_outline_of_what_they_cover(disc: tuple[np.ndarray, np.ndarray]) -> None:
    source, inside = disc
    edited = np.zeros(source.shape, np.float32)
    edited[..., 2] = 255
    changed = np.abs(composite(source, edited, coarse(inside)) - source).max(-1) > 25
    assert changed[inside].mean() > 0.97
    assert changed[~inside].mean() < 0.08


def test_far_from_the_region_every_pixel_is_the_sources(
    disc: tuple[np.ndarray, np.ndarray],
) -> None:
    picture, inside = disc
    noisy = np.random.default_rng(0).integers(0, 255, picture.shape).astype(np.uint8)
    mixed = composite(noisy, np.zeros(noisy.shape, np.float32), coarse(inside))
    assert np.array_equal(mixed[:8], noisy[:8])
    assert np.array_equal(mixed[:, -8:], noisy[:, -8:])


def test_an_edit_of_the_whole_picture_is_the_edit(disc: tuple[np.ndarray, np.ndarray]) -> None:
    edited = np.random.default_rng(1).uniform(0, 255, disc[0].shape).astype(np.float32)
    assert np.array_equal(composite(disc[0], edited, np.ones((12, 12), np.float32)), edited)


def test_the_guided_filter_keeps_a_constant_and_averages_over_a_flat_guide() -> None:
    guide = np.full((40, 40, 3), 0.5, np.float32)
    same = guided_filter(guide, np.full((40, 40), 0.7, np.float32), 4, 1e-3)
    assert np.allclose(same, 0.7, atol=1e-5)
    spike = np.zeros((40, 40), np.float32)
    spike[20, 20] = 1
    assert guided_filter(guide, spike, 4, 1e-3).max() < 0.02
