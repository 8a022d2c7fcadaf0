"""Long clips: windows of keyframes, what is kept of them, and whether they show."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_runs import GoldenCase

from tokenflow_engine.evaluation.seams import relative_changes, seams
from tokenflow_engine.phases.correspond import correspond
from tokenflow_engine.phases.joint_edit import edit_latents
from tokenflow_engine.tokenflow.attention import blended
from tokenflow_engine.tokenflow.keyframes import draw_schedule
from tokenflow_engine.tokenflow.propagation import RULES
from tokenflow_engine.tokenflow.windows import (
    ALL_AT_ONCE,
    FrameBatch,
    Window,
    anchors_of,
    one_by_one,
    sweep,
    window_size,
    windows,
)
from tokenflow_engine.tokenflow.wiring import tokenflow


@pytest.mark.parametrize("size", [1, 2, 3, 8, 12])
@pytest.mark.parametrize("count", [17, 24, 25, 125])
def test_a_keyframes_shares_in_its_windows_add_up_to_one(count: int, size: int) -> None:
    for step in range(20):
        sums, final = [0.0] * count, 0
        for window in windows(count, size, step):
            assert list(window.slots) == list(range(window.slots[0], window.slots[-1] + 1))
            assert len(window.slots) <= max(2, size)
            assert window.slots[0] >= final, "a keyframe came after it was said to be final"
            for slot, weight in zip(window.slots, window.weights, strict=True):
                assert weight > 0
                sums[slot] += weight
            final = window.final
        assert sums == pytest.approx([1.0] * count)
        assert final == count


def test_shares_change_gently_and_windows_move_from_step_to_step() -> None:
    for step in range(10):
        for window in windows(125, 8, step)[1:-1]:
            steps = np.abs(np.diff([0.0, *window.weights, 0.0]))
            assert steps.max() <= 1 / 4 + 1e-9
    starts = {tuple(w.slots[0] for w in windows(125, 8, step)[1:3]) for step in range(10)}
    assert len(starts) == 4


def test_up_to_the_limit_all_keyframes_see_each_other_in_one_call() -> None:
    for count in (1, 5, ALL_AT_ONCE):
        assert window_size(count, "smooth", 0) == count
        assert windows(count, count, 3) == [Window(tuple(range(count)), (1.0,) * count, (), count)]
        assert anchors_of(count, count) == ()
    assert window_size(ALL_AT_ONCE + 1, "smooth", 0) < ALL_AT_ONCE
    assert window_size(500, "reference", 0) == 500, "the released code knows no windows"
    assert window_size(500, "reference", 8) == 8


def test_no_keyframe_attends_to_more_than_twelve_frames() -> None:
    for step in range(8):
        for window in windows(500, window_size(500, "smooth", 0), step):
            assert not set(window.anchors) & set(window.slots)
            assert len(window.slots) + len(window.anchors) + 4 >= 8
            assert len(window.slots) + len(window.anchors) <= 12


@pytest.mark.parametrize("mode", RULES)
def test_few_keyframes_are_kept_however_long_the_clip_is(mode: str) -> None:
    def most_kept(frame_count: int, alone: bool) -> int:
        keyframes = draw_schedule(frame_count, 8, 1, seed=1)[0]
        count = len(keyframes)
        parts = one_by_one(count, 8) if alone else windows(count, 8, 1)
        blend = partial(RULES[mode].blend, keyframes=keyframes, chunk=8)
        first = stop = final = kept = 0
        frames: list[int] = []
        seen: list[Window] = []
        for part in sweep(parts, range(frame_count), blend, 8):
            if isinstance(part, FrameBatch):
                assert part.first >= first, "a forgotten keyframe would be needed again"
                first = part.first
                assert max(max(b.slots) for b in part.blends) + first < final
                assert all(min(b.slots) >= 0 for b in part.blends)
                frames += part.frames
                for frame, moved in zip(part.frames, part.blends, strict=True):
                    assert tuple(s + first for s in moved.slots) == blend(frame).slots
            else:
                stop, final = part.slots[-1] + 1, part.final
                seen.append(part)
            kept = max(kept, stop - first)
        assert frames == list(range(frame_count))
        assert seen == parts
        return kept

    for alone in (False, True):
        assert most_kept(4000, alone) == most_kept(400, alone) <= 16


def test_windows_are_blended_along_the_keyframes() -> None:
    first = Window((0, 1, 2), (1.0, 0.75, 0.25), (), 1)
    second = Window((1, 2, 3), (0.25, 0.75, 1.0), (), 4)
    new = torch.ones(2, 3, 1)
    kept = blended(None, new, first, 0, dim=1)
    torch.testing.assert_close(kept[0, :, 0], torch.tensor([1.0, 0.75, 0.25]))
    torch.testing.assert_close(blended(kept, new, second, 0, dim=1), torch.ones(2, 4, 1))
    without_first = blended(kept[:, 1:], 3 * new, second, 1, dim=1)
    torch.testing.assert_close(without_first[0, :, 0], torch.tensor([1.5, 2.5, 3.0]))


def test_a_window_as_wide_as_the_clip_changes_nothing_and_a_narrow_one_little(
    tmp_path: Path,
) -> None:
    case, steps = GoldenCase("wolf8"), 2
    whole = case.run("pnp", tmp_path, mode="smooth", chunk=2)
    run = replace(
        whole,
        plan=replace(whole.plan, timesteps=whole.plan.timesteps[:steps], attention_steps=1),
        keyframes=draw_schedule(whole.frame_count, 2, steps, seed=0),
        inversion_timesteps=whole.inversion_timesteps[-2:],
    )
    inversion = case.invert(run, tmp_path / "inversion")
    with tokenflow(run.model.unet) as wiring, torch.inference_mode():
        fields = correspond(run, wiring, inversion)

        def edited(window: int) -> torch.Tensor:
            request = replace(run.request, window=window)
            return edit_latents(replace(run, request=request), wiring, inversion, fields)

        together, wide, narrow = edited(0), edited(4), edited(2)
    assert torch.equal(wide, together)
    assert not torch.equal(narrow, together)
    assert float((narrow - together).norm() / together.norm()) < 0.2


def test_a_seam_is_told_from_other_changes() -> None:
    rng = np.random.default_rng(0)
    source = [np.full((8, 8, 3), 10 * i % 250, np.uint8) for i in range(25)]
    quiet = relative_changes(source, source)
    assert quiet == pytest.approx(1)
    noisy = quiet + rng.normal(0, 0.1, len(quiet))
    assert abs(seams(noisy, [3, 9, 15, 21]).deviation) < 2
    noisy[[3, 9, 15, 21]] += 1
    found = seams(noisy, [3, 9, 15, 21])
    assert found.deviation > 3
    assert found.chance == 1
    assert found.at_borders == pytest.approx(found.elsewhere + 1, abs=0.2)
    with pytest.raises(ValueError, match="elsewhere"):
        seams(noisy, range(24))
