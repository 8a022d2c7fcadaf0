"""The region of an edit: found where the prompts disagree, and nothing outside of it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.phases.edit_region import (
    LEAST_SEPARABILITY,
    EditRegion,
    Thresholds,
    cells_inside,
    find_region,
    otsu_classes,
    softened,
    sure_bins,
)
from tokenflow_engine.phases.invert import Inversion, invert_source
from tokenflow_engine.phases.meter import ProgressMeter
from tokenflow_engine.phases.prepare import prepare
from tokenflow_engine.phases.run import EditRun
from tokenflow_engine.tokenflow.wiring import tokenflow
from tokenflow_engine.toyworld.clips import move, render_clip
from tokenflow_engine.toyworld.scene import Scene

SOURCE, TARGET = "a red ball on grass under a blue sky", "a wooden ball on grass under a blue sky"


def test_two_heaps_are_parted_between_them() -> None:
    histogram = np.zeros(100, np.int64)
    histogram[10:20], histogram[70:80] = 5, 3
    split, lower, upper, separability = otsu_classes(histogram)
    assert 20 <= split <= 70
    assert (lower, upper) == pytest.approx((14.5, 74.5))
    assert separability > 0.98


def test_one_heap_leaves_little_between_its_halves() -> None:
    histogram = np.zeros(100, np.int64)
    histogram[40:50] = 1
    _, lower, upper, _ = otsu_classes(histogram)
    assert upper - lower == pytest.approx(5)


def test_the_halves_of_one_normal_distribution_explain_the_least_share_that_counts() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    histogram = np.histogram(values, 256)[0].astype(np.int64)
    assert otsu_classes(histogram).separability == pytest.approx(LEAST_SEPARABILITY, abs=0.01)


def test_a_quarter_of_each_class_is_sure_however_narrow_it_is() -> None:
    histogram = np.zeros(100, np.int64)
    histogram[10:20], histogram[70:80] = 5, 3
    outside, cut, inside = sure_bins(histogram, otsu_classes(histogram))
    assert 10 < outside < 20 <= cut <= 70 < inside < 80
    assert histogram[: int(outside)].sum() >= 50 / 4
    assert histogram[int(np.ceil(inside)) :].sum() >= 30 / 4


def test_a_wide_class_is_sure_a_fifth_beyond_its_mean() -> None:
    histogram = np.zeros(1000, np.int64)
    histogram[100:400], histogram[600:900] = 5, 5
    classes = otsu_classes(histogram)._replace(split=500)
    assert sure_bins(histogram, classes) == pytest.approx((199.4, 500, 799.4), abs=26)


OUTSIDE, CUT, INSIDE = LEVELS = Thresholds(1.0, 2.0, 4.0)


def test_a_doubtful_hole_is_filled_and_a_sure_one_stays() -> None:
    ground = np.full((1, 12, 12), 5.0, np.float32)
    ground[0, 2:4, 2:5] = 1.5
    ground[0, 7, 7] = 0.5
    inside = cells_inside(ground, LEVELS)
    assert inside[0, 2:4, 2:5].all()
    assert not inside[0, 7, 7]
    assert np.count_nonzero(~inside) == 1


def test_a_changed_grounds_object_stays_a_hole_with_its_doubtful_rim() -> None:
    ground = np.full((1, 12, 12), 5.0, np.float32)
    ground[0, 3:9, 3:9] = 1.5
    ground[0, 5:7, 5:7] = 0.5
    assert np.array_equal(cells_inside(ground, LEVELS), ground >= CUT)


def test_a_doubtful_island_is_left_out_and_a_sure_one_stays_with_what_it_touches() -> None:
    found = np.full((2, 12, 12), 0.5, np.float32)
    found[0, 1:3, 1:4] = 3.0
    found[0, 6:10, 6:10] = 3.0
    found[0, 8, 8] = 4.5
    # Corners do not join: this one is on its own.
    found[0, 10, 10] = 3.0
    inside = cells_inside(found, LEVELS)
    wanted = np.zeros_like(inside)
    wanted[0, 6:10, 6:10] = True
    assert np.array_equal(inside, wanted)


def test_values_at_the_thresholds_are_sure() -> None:
    found = np.array([[[INSIDE, CUT, OUTSIDE]]], np.float32)
    assert cells_inside(found, LEVELS).tolist() == [[[True, True, False]]]


def test_a_softened_region_holds_all_of_itself_and_fades_within_a_cell() -> None:
    inside = torch.zeros(1, 9, 9, dtype=torch.bool)
    inside[0, 3:6, 3:6] = True
    weights = softened(inside)[0]
    assert (weights[3:6, 3:6] == 1).all()
    assert weights[2, 4] == pytest.approx(1 / 3)
    assert weights[1].max() == 0


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Frames of a red ball on grass, and its share of each cell (F, h, w)."""
    clip = render_clip(move(Scene("ball", "red", "grass", "blue"), "roll", 3), 128, 128)
    folder = write_numbered(tmp_path_factory.mktemp("ball") / "frames", clip.frames)
    return folder, clip.masks.reshape(3, 16, 8, 16, 8).mean((2, 4))


@pytest.fixture
def run(
    ball: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[EditRun, Inversion]:
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "cache"))
    request = EditRequest(
        source=str(ball[0]),
        prompt=TARGET,
        source_prompt=SOURCE,
        output=str(tmp_path / "edited"),
        steps=10,
        inversion_steps=10,
    )
    prepared = prepare(request, ProgressMeter({}))
    return prepared, invert_source(prepared)


def region_of(run: EditRun, inversion: Inversion) -> EditRegion | None:
    with tokenflow(run.model.unet) as wiring, torch.inference_mode():
        return find_region(run, wiring, inversion)


def test_the_object_is_found_and_little_else(
    run: tuple[EditRun, Inversion], ball: tuple[Path, np.ndarray]
) -> None:
    region = region_of(*run)
    assert region is not None
    weights = region.weights([0, 1, 2])[:, 0].numpy()
    covered = ball[1]
    assert weights[covered > 0.9].mean() > 0.9
    near = softened(softened(torch.from_numpy(covered > 0)) > 0).numpy() > 0
    assert weights[~near].mean() < 0.1


def test_outside_the_region_the_source_comes_back(run: tuple[EditRun, Inversion]) -> None:
    region = region_of(*run)
    assert region is not None
    other = torch.full((3, 4, 16, 16), 9.0)
    blended = region.blended([0, 1, 2], other, None)
    outside = (region.weights([0, 1, 2]) == 0).expand_as(other)
    assert outside.any()
    assert torch.equal(blended[outside], run[1].clean([0, 1, 2])[outside])
    assert (blended[(region.weights([0, 1, 2]) == 1).expand_as(other)] == 9).all()


def test_without_a_source_prompt_or_by_choice_the_whole_picture_is_edited(
    run: tuple[EditRun, Inversion],
) -> None:
    for changes in ({"source_prompt": ""}, {"region": "everywhere"}, {"mode": "reference"}):
        changed = replace(run[0], request=replace(run[0].request, **changes))
        assert region_of(changed, run[1]) is None


def test_equal_prompts_leave_nothing_to_keep_apart(run: tuple[EditRun, Inversion]) -> None:
    same = replace(
        run[0],
        request=replace(run[0].request, prompt=SOURCE),
        edit_embeddings=run[0].source_embedding,
    )
    assert region_of(same, run[1]) is None
