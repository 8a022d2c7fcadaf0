"""Steadying takes flicker off and leaves what moves, and what is hidden, alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tokenflow_engine.evaluation.metrics import psnr, warp_error
from tokenflow_engine.evaluation.optical_flow import SourceFlow
from tokenflow_engine.phases.steadying import agreement, steadied, with_contrast
from tokenflow_engine.toyworld import sample_clip
from tokenflow_engine.toyworld.clips import Clip

Frames = list[np.ndarray]


@pytest.fixture(scope="module")
def clip() -> Clip:
    return sample_clip(5, "roll", 7, 128, 128)


def levels(frames: Frames) -> Frames:
    return [frame.astype(np.float32) for frame in frames]


def flickering(frames: np.ndarray) -> Frames:
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 12, (len(frames), 16, 16, 3)).repeat(8, 1).repeat(8, 2)
    return list(np.clip(frames + coarse, 0, 255).astype(np.uint8))


def test_flicker_falls_and_the_picture_comes_nearer_to_the_truth(clip: Clip) -> None:
    before = flickering(clip.frames)
    after = [np.rint(each).astype(np.uint8) for each in steadied(levels(before), clip.frames, 2)]
    flow = SourceFlow(list(clip.flows), list(clip.visible))
    assert warp_error(after, flow) < 0.6 * warp_error(before, flow)
    truth = list(clip.frames)
    for rough, steady, wanted in zip(before, after, truth, strict=True):
        assert psnr(steady, wanted) > psnr(rough, wanted) + 2


def test_a_clip_without_flicker_keeps_its_detail(clip: Clip) -> None:
    for frame, steady in zip(
        clip.frames, steadied(levels(list(clip.frames)), clip.frames, 2), strict=True
    ):
        assert psnr(frame, steady) > 33


def test_scenes_before_and_after_a_cut_do_not_mix() -> None:
    source = [np.full((64, 64, 3), grey, np.uint8) for grey in (20, 20, 20, 220, 220, 220)]
    edited = [np.full((64, 64, 3), grey, np.uint8) for grey in (90, 90, 90, 10, 10, 10)]
    for frame, steady in zip(edited, steadied(levels(edited), source, 2), strict=True):
        assert np.array_equal(frame, steady)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_every_frame_meets_just_the_neighbours_within_the_radius(count: int, radius: int) -> None:
    source = [np.full((64, 64, 3), 100, np.uint8)] * count
    edited = [np.full((64, 64, 3), 10 * number, np.uint8) for number in range(count)]
    for number, steady in enumerate(steadied(levels(edited), source, radius)):
        near = range(max(0, number - radius), min(count, number + radius + 1))
        assert steady[32, 32, 0] == pytest.approx(10 * np.mean(near), abs=1e-3)


def test_planes_beyond_the_colours_are_averaged_alone() -> None:
    rng = np.random.default_rng(5)
    source = [rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)] * 3
    masks = [np.full((64, 64), value, np.float32) for value in (0.0, 0.0, 1.0)]
    edited = levels([rng.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in masks])
    alone = list(steadied(edited, source, 2))
    both = list(steadied(map(np.dstack, zip(edited, masks, strict=True)), source, 2))
    for colours, planes in zip(alone, both, strict=True):
        assert np.array_equal(planes[..., :3], colours)
        assert np.allclose(planes[..., 3], 1 / 3, atol=1e-4)


def test_only_the_frames_within_reach_are_held() -> None:
    drawn = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal drawn
        for _ in range(100):
            drawn += 1
            yield np.full((64, 64, 3), 100, np.uint8)

    frames = steadied([np.zeros((64, 64, 3), np.float32)] * 100, source(), 2)
    next(frames)
    assert drawn <= 3 + torch.get_num_threads()


def test_agreement_is_full_for_equal_views_and_none_for_others() -> None:
    grey = np.full((16, 16, 3), 100, np.uint8)
    assert np.array_equal(agreement(grey, grey), np.ones((16, 16)))
    assert agreement(grey, grey + 40).max() < 1e-6


def test_what_averaging_takes_of_the_contrast_is_given_back() -> None:
    rng = np.random.default_rng(3)
    own, others = rng.normal(0, 20, (2, 64, 64, 3)).astype(np.float32) + 120
    averaged = (own + others) / 2
    restored = with_contrast(averaged, own)
    assert averaged.std() < 0.8 * own.std()
    assert restored.std() == pytest.approx(own.std(), rel=0.05)
    assert np.corrcoef(restored.ravel(), averaged.ravel())[0, 1] > 0.97


def test_contrast_is_never_taken_and_at_most_doubled() -> None:
    rng = np.random.default_rng(4)
    rough = rng.normal(120, 20, (64, 64, 3)).astype(np.float32)
    flat = np.full((64, 64, 3), 120, np.float32)
    assert np.allclose(with_contrast(rough, flat), rough, atol=1e-3)
    assert with_contrast((rough - 120) / 8 + 120, rough).std() < 2.05 * rough.std() / 8
