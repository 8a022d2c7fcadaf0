"""A few frames edited jointly and alone, and the fresh noise that a seed draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_edit import FRAMES, SIZE, cache, clip, pictures, request_for  # noqa: F401

from tokenflow_engine import EditRequest, Progress, TokenFlowError, edit
from tokenflow_engine.client.edit_request import EDITORS
from tokenflow_engine.client.errors import Cancelled
from tokenflow_engine.client.progress import EditResult
from tokenflow_engine.evaluation.metrics import psnr
from tokenflow_engine.phases.variation import varied
from tokenflow_engine.tokenflow.keyframes import spread

Build = Callable[..., EditRequest]


def test_the_frames_shown_are_the_middles_of_equal_parts() -> None:
    assert spread(40, 4) == (5, 15, 25, 35)
    assert spread(7, 3) == (1, 3, 5)
    assert spread(3, 4) == (0, 1, 2)
    for count in range(2, 50):
        for wanted in range(1, 9):
            shown = spread(count, wanted)
            assert len(set(shown)) == min(count, wanted)
            assert shown[0] >= 0 and shown[-1] < count


def test_a_preview_writes_only_its_frames_and_says_which_they_are(
    request_for: Build,  # noqa: F811
    cache: Path,  # noqa: F811
) -> None:
    reports: list[Progress] = []
    result = edit(request_for(preview_frames=3), progress=reports.append)
    assert result.preview_of == (1, 3, 5)
    assert pictures(result.output).shape == (3, SIZE, SIZE, 3)
    assert EditResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    written = json.loads((Path(result.output) / "edit.json").read_text())
    assert written["result"]["preview_of"] == [1, 3, 5]
    assert {report.phase for report in reports} == {"prepare", "invert", "edit", "decode"}
    assert sorted(p.name for p in cache.iterdir() if p.is_dir()) == ["cut", "invert", "region"]


def test_a_preview_of_a_range_shows_frames_of_that_range(request_for: Build) -> None:  # noqa: F811
    assert edit(request_for(preview_frames=2, frames=(2, 6))).preview_of == (3, 5)


@pytest.mark.parametrize("editor", EDITORS)
def test_a_preview_of_every_frame_is_the_edit_in_which_all_are_keyframes(
    request_for: Build,  # noqa: F811
    tmp_path: Path,
    editor: str,
) -> None:
    short = request_for(frames=(0, 4), editor=editor)
    preview = edit(replace(short, preview_frames=4, output=str(tmp_path / "preview")))
    whole = edit(replace(short, chunk=1, steadying=0, output=str(tmp_path / "whole")))
    assert preview.preview_of == (0, 1, 2, 3)
    difference = pictures(preview.output).astype(int) - pictures(whole.output).astype(int)
    # The frames of one UNet call differ, and with them the last bits of its sums.
    assert np.abs(difference).max() <= 1


def test_a_preview_is_nearer_to_the_edit_than_the_source_is(
    request_for: Build,  # noqa: F811
    clip: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    wanted = request_for(steps=8, inversion_steps=8)
    preview = edit(replace(wanted, preview_frames=3, output=str(tmp_path / "preview")))
    whole = pictures(edit(wanted).output)
    shown, source = pictures(preview.output), pictures(clip)
    for picture, frame in zip(shown, preview.preview_of, strict=True):
        assert psnr(picture, whole[frame]) > psnr(source[frame], whole[frame]) + 3


def test_another_prompt_for_the_same_frames_begins_after_the_inversion(
    request_for: Build,  # noqa: F811
    tmp_path: Path,
) -> None:
    edit(request_for(preview_frames=3))
    reports: list[Progress] = []
    again = request_for(preview_frames=3, prompt="a gold ball", output=str(tmp_path / "second"))
    edit(again, progress=reports.append)
    assert all(report.done == 0 for report in reports if report.phase == "invert")


def test_a_preview_can_be_cancelled_and_leaves_nothing(request_for: Build) -> None:  # noqa: F811
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        return calls > 6

    request = request_for(preview_frames=3)
    with pytest.raises(Cancelled):
        edit(request, cancelled=cancelled)
    assert not Path(request.output).exists()


def test_seeds_draw_other_previews_only_where_a_variation_is_wanted(
    request_for: Build,  # noqa: F811
    tmp_path: Path,
) -> None:
    def shown(name: str, **changes: object) -> np.ndarray:
        request = request_for(preview_frames=2, output=str(tmp_path / name), **changes)
        return pictures(edit(request).output)

    plain = shown("plain", seed=1)
    assert (shown("plain2", seed=2) == plain).all()
    first = shown("first", seed=1, variation=0.4)
    assert (shown("same", seed=1, variation=0.4) == first).all()
    assert (shown("second", seed=2, variation=0.4) != first).any()
    assert (first != plain).any()


def test_a_variation_makes_another_whole_edit_too(
    request_for: Build,  # noqa: F811
    tmp_path: Path,
) -> None:
    made = [
        pictures(edit(request_for(variation=0.5, seed=seed, output=str(tmp_path / str(n)))).output)
        for n, seed in enumerate((1, 2))
    ]
    assert (made[0] != made[1]).any()


def test_fresh_noise_keeps_the_variance_and_is_shared_by_all_frames() -> None:
    noise = torch.randn(3, 4, 64, 64, generator=torch.Generator().manual_seed(9))
    assert varied(noise, 0.0, 1) is noise
    for variation in (0.2, 0.5, 1.0):
        assert varied(noise, variation, 1).var().item() == pytest.approx(1, abs=0.05)
    only_fresh = varied(noise, 1.0, 1)
    assert torch.allclose(only_fresh[0], only_fresh[2], atol=1e-5)
    near, far = varied(noise, 0.1, 1), varied(noise, 0.6, 1)
    assert (near - noise).norm() < (far - noise).norm()


def test_numbers_out_of_range_are_refused(request_for: Build) -> None:  # noqa: F811
    for changes in ({"preview_frames": 9}, {"preview_frames": -1}, {"variation": 1.5}):
        with pytest.raises(TokenFlowError) as caught:
            edit(request_for(**changes))
        assert caught.value.code == "bad_request"
