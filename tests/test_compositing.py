"""An edit laid over its source touches nothing outside of its region."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tokenflow_engine.media.compositing import (
    MOST_CELLS,
    cells_of,
    composite,
    guided_filter,
    share_of_edit,
    sharpened,
)


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


def test_a_dark_patch_of_the_ground_beside_the_object_goes_with_the_ground(
    disc: tuple[np.ndarray, np.ndarray],
) -> None:
    source, inside = disc
    patches = np.zeros(inside.shape, bool)
    patches[124:140, 90:110] = patches[10:40, 10:40] = patches[150:170, 140:180] = True
    patches &= ~inside
    source[patches] = 60
    source += np.random.default_rng(4).integers(0, 30, source.shape).astype(np.uint8)
    share = share_of_edit(source, ~wider(coarse(inside)))
    assert share[patches].mean() > 0.97
    assert share[inside].mean() < 0.05


def test_the_same_picture_is_always_cut_the_same_way(
    disc: tuple[np.ndarray, np.ndarray],
) -> None:
    noisy = disc[0] + np.random.default_rng(3).integers(0, 50, disc[0].shape).astype(np.uint8)
    cells = wider(coarse(disc[1]))
    first = share_of_edit(noisy, cells)
    cv2.setRNGSeed(17)
    assert np.array_equal(share_of_edit(noisy, cells), first)


def test_a_large_picture_is_cut_at_half_its_size_along_the_same_outline() -> None:
    y, x = np.mgrid[:384, :384]
    inside = (x - 192) ** 2 + (y - 192) ** 2 < 90**2
    source = np.full((384, 384, 3), 120, np.uint8)
    source[inside] = (200, 30, 30)
    cells = np.asarray(inside.reshape(48, 8, 48, 8).any((1, 3)))
    assert cells.size > MOST_CELLS
    share = share_of_edit(source, cells)
    assert share[inside].mean() > 0.97
    assert share[~inside].mean() < 0.01


def test_averaged_shares_become_sharp_again() -> None:
    averaged = np.array([[0.0, 0.15, 0.4, 0.65, 1.0]], np.float32)
    assert np.allclose(sharpened(averaged), [[0, 0, 0.5, 1, 1]])


def test_the_cells_of_an_edit_are_those_that_hold_a_pixel_of_it() -> None:
    share = np.zeros((16, 24), np.float32)
    share[7, 8], share[15, 23] = 0.9, 0.3
    assert np.array_equal(cells_of(share, (2, 3)), [[False, True, False], [False] * 3])


def test_the_guided_filter_keeps_a_constant_and_averages_over_a_flat_guide() -> None:
    guide = np.full((40, 40, 3), 0.5, np.float32)
    same = guided_filter(guide, np.full((40, 40), 0.7, np.float32), 4, 1e-3)
    assert np.allclose(same, 0.7, atol=1e-5)
    spike = np.zeros((40, 40), np.float32)
    spike[20, 20] = 1
    assert guided_filter(guide, spike, 4, 1e-3).max() < 0.02


def test_a_guide_of_another_size_gives_the_edges_of_that_size() -> None:
    fine = np.zeros((80, 80, 3), np.float32)
    fine[:, 41:] = 1
    guide = cv2.resize(fine, (40, 40), interpolation=cv2.INTER_AREA)
    values = np.asarray(guide[..., 0] > 0.5, np.float32)
    filtered = guided_filter(guide, values, 2, 1e-3, fine)
    assert filtered.shape == (80, 80)
    assert np.array_equal(filtered > 0.5, fine[..., 0] > 0.5)
