"""Each metric on cases with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tokenflow_engine.evaluation.metrics import (
    IDENTICAL_PSNR,
    flow_agreement,
    flow_disagreement,
    psnr,
    ssim,
    stability,
    warp_error,
)
from tokenflow_engine.evaluation.optical_flow import SourceFlow, estimated_flow, warp
from tokenflow_engine.toyworld import sample_clip

RNG = np.random.default_rng(0)
TEXTURE = RNG.integers(0, 255, (80, 120, 3), np.uint8)


def panned(frames: int, speed: int) -> list[np.ndarray]:
    """A window that moves over a texture by whole pixels."""
    smooth = np.repeat(np.repeat(TEXTURE[:20, :30], 4, 0), 4, 1)
    return [smooth[:64, i * speed : i * speed + 64] for i in range(frames)]


def exact(frames: int, speed: int) -> SourceFlow:
    field = np.zeros((64, 64, 2), np.float32)
    field[..., 0] = -speed
    visible = np.zeros((64, 64), bool)
    visible[:, speed:] = True
    return SourceFlow([field] * (frames - 1), [visible] * (frames - 1))


def test_psnr_of_a_known_error() -> None:
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 16, np.uint8)
    assert psnr(black, grey) == pytest.approx(10 * math.log10(255**2 / 256))
    assert psnr(black, black) == IDENTICAL_PSNR


def test_masked_psnr_sees_nothing_outside_of_the_mask() -> None:
    first = np.zeros((4, 4, 3), np.uint8)
    second = first.copy()
    second[0] = 200
    mask = np.ones((4, 4), bool)
    mask[0] = False
    assert psnr(first, second, mask) == IDENTICAL_PSNR
    assert psnr(first, second) < 20
    assert math.isnan(psnr(first, second, np.zeros((4, 4), bool)))


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise_not_with_a_small_shift_of_light() -> (
    None
):
    brighter = np.clip(TEXTURE.astype(int) + 4, 0, 255).astype(np.uint8)
    noise = RNG.integers(0, 255, TEXTURE.shape, np.uint8)
    assert ssim(TEXTURE, TEXTURE) == pytest.approx(1)
    assert ssim(TEXTURE, brighter) > 0.98
    assert abs(ssim(TEXTURE, noise)) < 0.1


def test_warp_error_of_a_clip_along_its_own_flow_is_zero() -> None:
    assert warp_error(panned(4, 3), exact(4, 3)) == pytest.approx(0, abs=1e-4)


def test_warp_error_of_flicker_is_its_size() -> None:
    clip = [np.full((64, 64, 3), 100 + 10 * (i % 2), np.uint8) for i in range(5)]
    assert warp_error(clip, exact(5, 3)) == pytest.approx(10)


def test_warp_error_of_a_frozen_edit_of_a_moving_source_is_not_zero() -> None:
    frozen = [panned(1, 3)[0]] * 4
    assert warp_error(frozen, exact(4, 3)) > 20


def test_warp_reads_where_the_flow_points() -> None:
    picture = np.zeros((5, 5, 1), np.float32)
    picture[2, 3] = 1
    field = np.zeros((5, 5, 2), np.float32)
    field[..., 0] = 1
    assert warp(picture, field).reshape(5, 5)[2, 2] == 1


def test_estimated_flow_finds_a_pan_and_hides_what_leaves_the_picture() -> None:
    flow = estimated_flow(panned(3, 4))
    inner = flow.fields[0][16:48, 16:48]
    assert np.abs(inner - [-4, 0]).mean() < 0.5
    assert flow.visible[0][16:48, 16:48].mean() > 0.8
    assert flow.visible[0][:, :3].mean() < 0.3


def test_estimated_flow_is_near_the_exact_flow_of_the_toy_world() -> None:
    clip = sample_clip(3, "roll", 16, 96, 96, shape="cube", look="checkered", ground="stone")
    ours = estimated_flow(list(clip.frames))
    theirs = SourceFlow(list(clip.flows), list(clip.visible))
    assert flow_disagreement(ours, theirs) < 1.0
    assert flow_disagreement(theirs, theirs) == 0
    moved = SourceFlow([f + np.float32([3, 4]) for f in theirs.fields], theirs.visible)
    assert flow_disagreement(moved, theirs) == pytest.approx(5, abs=1e-3)


def test_flow_agreement_is_the_share_of_pixels_that_move_as_the_source_does() -> None:
    theirs = exact(3, 3)
    moved = [field.copy() for field in theirs.fields]
    for field in moved:
        field[:32] += 5
    assert flow_agreement(theirs, theirs) == 1
    assert flow_agreement(SourceFlow(moved, theirs.visible), theirs) == 0.5


def test_words_follow_the_excess_over_the_source() -> None:
    assert stability(0.3, 0.2) == "as stable as the source"
    assert stability(9.0, 0.2) == "flickers more than the source"
