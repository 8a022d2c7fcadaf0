"""An edit laid over its source touches nothing outside of its region."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tokenflow_engine.media.compositing import composite, guided_filter, share_of_edit


@pytest.fixture
def disc() -> tuple[np.ndarray, np.ndarray]:
    """A red disc on grey, uint8 (192, 192, 3), and where it is."""
    y, x = np.mgrid[:192, :192]
    inside = (x - 96) ** 2 + (y - 96) ** 2 < 30**2
    picture = np.full((192, 192, 3), 120, np.uint8)
    picture[inside] = (200, 30, 30)
    return picture, inside


def coarse(inside: np.ndarray) -> np.ndarray:
    """The cells that hold any of it, bool (24, 24)."""
    return np.asarray(inside.reshape(24, 8, 24, 8).any((1, 3)))


def wider(cells: np.ndarray) -> np.ndarray:
    """The same cells and those beside them."""
    return np.asarray(cv2.dilate(cells.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


@pytest.mark.parametrize("grow", [False, True])
def test_cells_become_the_outline_of_what_they_cover(
    disc: tuple[np.ndarray, np.ndarray], grow: bool
) -> None:
    source, inside = disc
    cells = wider(coarse(inside)) if grow else coarse(inside)
    share = share_of_edit(source, cells)
    assert share[inside].mean() > 0.97
    assert share[~inside].mean() < 0.01


@pytest.mark.parametrize("grow", [False, True])
def test_the_object_on_a_changed_ground_keeps_its_outline(
    disc: tuple[np.ndarray, np.ndarray], grow: bool
) -> None:
    source, inside = disc
    around = ~coarse(inside)
    share = share_of_edit(source, wider(around) if grow else around)
    assert share[inside].mean() < 0.1
    assert share[~inside].mean() > 0.97


def test_a_region_narrower_than_the_band_still_shows() -> None:
    """And no pixel that is far from it changes."""
    source = np.full((96, 96, 3), 120, np.uint8)
    source[40:56, 40:56] = (200, 30, 30)
    cells = np.zeros((12, 12), bool)
    cells[5:7, 5:7] = True
    share = share_of_edit(source, cells)
    assert share[44:52, 44:52].min() > 0.9
    assert share[:24].max() == 0


def test_far_from_the_region_every_pixel_is_the_sources(
    disc: tuple[np.ndarray, np.ndarray],
) -> None:
    picture, inside = disc
    noisy = np.random.default_rng(0).integers(0, 255, picture.shape).astype(np.uint8)
    share = share_of_edit(noisy, coarse(inside))
    mixed = composite(noisy, np.zeros(noisy.shape, np.float32), share)
    for far in (np.s_[:16], np.s_[-16:], np.s_[:, :16], np.s_[:, -16:]):
        assert np.array_equal(mixed[far], noisy[far])


def test_an_edit_of_the_whole_picture_is_the_edit(disc: tuple[np.ndarray, np.ndarray]) -> None:
    edited = np.random.default_rng(1).uniform(0, 255, disc[0].shape).astype(np.float32)
    share = share_of_edit(disc[0], np.ones((24, 24), bool))
    assert np.array_equal(composite(disc[0], edited, share), edited)


def test_pixels_that_are_not_trusted_do_not_move_the_guided_filter() -> None:
    guide = np.random.default_rng(2).random((40, 40, 3)).astype(np.float32)
    values = guide[..., 0].copy()
    trust = np.ones((40, 40), np.float32)
    values[10:20, 10:20], trust[10:20, 10:20] = 9, 1e-6
    filtered = guided_filter(guide, values, 8, 1e-5, trust)
    assert np.abs(filtered - guide[..., 0]).max() < 0.02


def test_the_guided_filter_keeps_a_constant_and_averages_over_a_flat_guide() -> None:
    guide = np.full((40, 40, 3), 0.5, np.float32)
    same = guided_filter(guide, np.full((40, 40), 0.7, np.float32), 4, 1e-3)
    assert np.allclose(same, 0.7, atol=1e-5)
    spike = np.zeros((40, 40), np.float32)
    spike[20, 20] = 1
    assert guided_filter(guide, spike, 4, 1e-3).max() < 0.02
