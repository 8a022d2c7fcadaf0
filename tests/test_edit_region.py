"""The region of an edit: found where the prompts disagree, and nothing outside of it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.media.pictures import write_png
from tokenflow_engine.phases.edit_region import EditRegion, find_region, otsu_threshold, softened
from tokenflow_engine.phases.invert import Inversion, invert_source
from tokenflow_engine.phases.meter import ProgressMeter
from tokenflow_engine.phases.prepare import prepare
from tokenflow_engine.phases.run import EditRun
from tokenflow_engine.tokenflow.wiring import tokenflow
from tokenflow_engine.toyworld.clips import move, render_clip
from tokenflow_engine.toyworld.scene import Scene

SOURCE, TARGET = "a red ball on grass under a blue sky", "a wooden ball on grass under a blue sky"


def test_two_heaps_are_parted_between_them() -> None:
    histogram = np.zeros(100)
    histogram[10:20], histogram[70:80] = 5, 3
    split, gap = otsu_threshold(histogram)
    assert 20 <= split <= 70
    assert gap == pytest.approx(60)


def test_one_heap_leaves_little_between_its_halves() -> None:
    histogram = np.zeros(100)
    histogram[40:50] = 1
    assert otsu_threshold(histogram)[1] == pytest.approx(5)


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
    folder = tmp_path_factory.mktemp("ball") / "frames"
    folder.mkdir()
    for number, frame in enumerate(clip.frames):
        write_png(folder / f"{number:05d}.png", frame)
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
