"""Whole edits with the embedded model, from a source on disk to pictures on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tokenflow_engine import EditRequest, Progress, TokenFlowError, edit
from tokenflow_engine.client.edit_request import EDITORS, MODES
from tokenflow_engine.client.errors import Cancelled
from tokenflow_engine.client.progress import EditResult
from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.phases.cache import PhaseCache
from tokenflow_engine.toyworld import sample_clip

SIZE = 64
FRAMES = 7


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of numbered pictures out of the toy world."""
    scene = {"look": "red", "shape": "ball", "ground": "grass", "sky": "blue"}
    clip = sample_clip(11, "roll", FRAMES, SIZE, SIZE, **scene)
    return write_numbered(tmp_path_factory.mktemp("clip"), clip.frames)


@pytest.fixture
def request_for(clip: Path, tmp_path: Path) -> Callable[..., EditRequest]:
    """A short edit of the clip, with changes."""

    def build(**changes: Any) -> EditRequest:
        request = EditRequest(
            source=str(clip),
            prompt="a blue ball on grass under a blue sky",
            source_prompt="a red ball on grass under a blue sky",
            output=str(tmp_path / "out"),
            steps=3,
            inversion_steps=3,
            chunk=3,
        )
        return replace(request, **changes)

    return build


def pictures(folder: str | Path) -> np.ndarray:
    paths = sorted(Path(folder).glob("*.png"))
    return np.stack([np.asarray(Image.open(path)) for path in paths])


@pytest.mark.parametrize("editor", EDITORS)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_editor_edits_a_clip_that_is_no_multiple_of_the_chunk(
    mode: str, editor: str, request_for: Callable[..., EditRequest]
) -> None:
    result = edit(request_for(mode=mode, editor=editor))
    assert result.frame_count == FRAMES
    assert pictures(result.output).shape == (FRAMES, SIZE, SIZE, 3)
    assert pictures(result.output).std() > 10
    written = json.loads((Path(result.output) / "edit.json").read_text())
    assert written["result"]["frame_count"] == FRAMES
    assert written["request"]["mode"] == mode
    # The released code slices at int(1 - 0.9 * 3), which leaves one step.
    steps = 1 if (mode, editor) == ("reference", "sdedit") else 3
    assert len(written["keyframes"]) == steps


def test_an_edit_says_how_steady_it_is_beside_its_source(
    request_for: Callable[..., EditRequest],
) -> None:
    from tokenflow_engine.evaluation.metrics import warp_error
    from tokenflow_engine.evaluation.optical_flow import estimated_flow

    result = edit(request_for())
    flow = estimated_flow(list(pictures(request_for().source)))
    expected = warp_error(list(pictures(result.output)), flow)
    assert result.scores["warp_error"] == pytest.approx(expected, abs=1e-3)
    assert 0 <= result.scores["source_warp_error"] < result.scores["warp_error"]
    assert result.stability.endswith(".") and result.stability[0].isupper()
    written = json.loads((Path(result.output) / "edit.json").read_text())["result"]
    assert written["scores"] == result.scores
    assert EditResult.from_json(written) == result
    older = {k: v for k, v in written.items() if k not in ("scores", "stability")}
    assert EditResult.from_json(older).stability == ""


def test_an_edit_is_made_again_bit_for_bit_from_its_edit_file(
    request_for: Callable[..., EditRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = edit(request_for(seed=4))
    written = json.loads((Path(first.output) / "edit.json").read_text())
    again = EditRequest.from_json(written["request"] | {"output": str(tmp_path / "again")})
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "another cache"))
    assert np.array_equal(pictures(first.output), pictures(edit(again).output))


@pytest.mark.parametrize("changes", [{}, {"pnp_attention": 0.0}])
def test_a_second_prompt_reuses_what_the_source_decides_and_changes_nothing(
    changes: dict[str, Any],
    request_for: Callable[..., EditRequest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edit(request_for())
    second = request_for(prompt="a yellow ball on sand", output=str(tmp_path / "second"), **changes)
    reported: list[Progress] = []
    cached = edit(second, progress=reported.append)
    assert all(report.done == 0 for report in reported if report.phase in ("invert", "correspond"))
    assert any(report.done > 0 for report in reported if report.phase == "edit")
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "another cache"))
    fresh = edit(replace(second, output=str(tmp_path / "fresh")))
    assert np.array_equal(pictures(cached.output), pictures(fresh.output))


def test_progress_names_the_phases_in_order_and_reaches_each_end(
    request_for: Callable[..., EditRequest],
) -> None:
    reported: list[Progress] = []
    edit(request_for(), progress=reported.append)
    order = list(dict.fromkeys(report.phase for report in reported))
    assert order == ["prepare", "invert", "correspond", "edit", "decode"]
    last = {report.phase: report for report in reported}
    assert all(report.done == report.total for report in last.values())
    assert any(report.eta_seconds is not None for report in reported)
    assert last["decode"].eta_seconds == 0


@pytest.mark.parametrize("phase", ["prepare", "invert", "correspond", "edit", "decode"])
def test_a_cancel_leaves_nothing_half_done_and_keeps_finished_phases(
    phase: str, request_for: Callable[..., EditRequest], cache: Path
) -> None:
    seen: list[Progress] = []

    def cancelled() -> bool:
        return bool(seen) and seen[-1].phase == phase and seen[-1].done > 0

    request = request_for(seed=9)
    with pytest.raises(Cancelled):
        edit(request, progress=seen.append, cancelled=cancelled)
    output = Path(request.output)
    assert not output.exists()
    assert not [path for path in output.parent.iterdir() if path.name.startswith(".out")]
    assert not list(cache.glob("*/*.part"))
    if phase in ("correspond", "edit", "decode"):
        again: list[Progress] = []
        edit(request, progress=again.append)
        assert all(report.done == 0 for report in again if report.phase == "invert")


def test_a_failed_edit_keeps_the_older_result(
    request_for: Callable[..., EditRequest],
) -> None:
    edit(request_for())
    before = pictures(request_for().output)
    with pytest.raises(Cancelled):
        edit(request_for(prompt="a cube"), cancelled=lambda: True)
    assert np.array_equal(pictures(request_for().output), before)


def test_a_refused_edit_makes_no_folders(
    request_for: Callable[..., EditRequest], tmp_path: Path
) -> None:
    with pytest.raises(TokenFlowError):
        edit(request_for(source="nowhere.mp4", output=str(tmp_path / "a" / "b" / "out")))
    assert not (tmp_path / "a").exists()
    assert edit(request_for(output=str(tmp_path / "a" / "b" / "out"))).frame_count == FRAMES


def test_a_damaged_cache_entry_is_made_again(
    request_for: Callable[..., EditRequest], tmp_path: Path, cache: Path
) -> None:
    first = edit(request_for())
    for array in cache.glob("*/*/*.npy"):
        array.write_bytes(array.read_bytes()[:-9])
    again = edit(request_for(output=str(tmp_path / "again")))
    assert np.array_equal(pictures(first.output), pictures(again.output))


def test_the_cache_forgets_what_was_unused_for_longest(tmp_path: Path) -> None:
    def entry(key: str, limit: int) -> None:
        cache = PhaseCache(tmp_path, limit)
        with cache.build("invert", key) as store:
            store.create("a", (1000,), "uint8")
            store.write("a", slice(None), np.zeros(1000, np.uint8))
        cache.release()

    entry("old", 10**6)
    entry("middle", 10**6)
    assert PhaseCache(tmp_path).find("invert", "old")
    entry("new", 3000)
    assert PhaseCache(tmp_path).find("invert", "middle") is None
    assert PhaseCache(tmp_path).find("invert", "new")


def test_without_guidance_one_branch_is_enough(request_for: Callable[..., EditRequest]) -> None:
    def units(**changes: Any) -> int:
        reported: list[Progress] = []
        request = request_for(editor="sdedit", region="everywhere", **changes)
        edit(request, progress=reported.append)
        return max(report.total for report in reported if report.phase == "edit")

    assert units(guidance_scale=1.0) * 2 == units()


def test_a_part_of_a_movie_is_edited_at_another_size(
    footage: Callable[[str], Path], request_for: Callable[..., EditRequest]
) -> None:
    result = edit(
        request_for(
            source=str(footage("bikes.mp4")),
            frames=(10, 13),
            size=(96, 64),
            source_prompt="",
            mode="smooth",
        )
    )
    # The middle of 640x272 that has the aspect of 96x64.
    assert (result.frame_count, result.width, result.height) == (3, 408, 272)
    assert pictures(result.output).shape == (3, 272, 408, 3)
    assert result.fps is not None and result.fps > 0


def test_a_transparent_source_of_odd_size_comes_back_with_its_alpha_at_its_size(
    clip: Path, request_for: Callable[..., EditRequest], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    rng = np.random.default_rng(0)
    alphas = rng.integers(0, 256, (2, 67, 101), dtype=np.uint8)
    for number, alpha in enumerate(alphas):
        with Image.open(clip / f"{number:05d}.png") as picture:
            rgb = picture.convert("RGB").resize((101, 67))
        Image.fromarray(np.dstack([np.asarray(rgb), alpha])).save(source / f"{number}.png")
    result = edit(request_for(source=str(source)))
    assert (result.width, result.height) == (101, 67)
    assert np.array_equal(pictures(result.output)[..., 3], alphas)
    assert edit(request_for(source=str(source), result_size="edit")).width == 104

    deep = edit(request_for(source=str(source), picture_format="png16"))
    first = cv2.imread(str(Path(deep.output) / "00000.png"), cv2.IMREAD_UNCHANGED)
    assert first.dtype == np.uint16
    assert np.array_equal(first[..., 3], alphas[0] * np.uint16(257))
    half = edit(request_for(source=str(source), picture_format="exr"))
    assert sorted(f.name for f in Path(half.output).iterdir()) == [
        "00000.exr",
        "00001.exr",
        "edit.json",
    ]


def test_a_keyframe_schedule_and_a_trajectory_go_in_and_out(
    request_for: Callable[..., EditRequest], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    rows = [[0, 3, 6], [1, 4, 6], [2, 5, 6]]
    (tmp_path / "keyframes.json").write_text(json.dumps(rows))
    request = request_for(
        keyframe_schedule=str(tmp_path / "keyframes.json"),
        trajectory=str(tmp_path / "trajectory.safetensors"),
    )
    result = edit(request)
    assert json.loads((Path(result.output) / "edit.json").read_text())["keyframes"] == rows
    arrays = load_file(tmp_path / "trajectory.safetensors")
    assert set(arrays) == {
        *(f"inversion.t{t}" for t in (1, 334, 667)),
        *(f"edit.step{n:03d}" for n in range(3)),
    }
    assert {a.shape for a in arrays.values()} == {(FRAMES, 4, SIZE // 8, SIZE // 8)}
    assert {str(a.dtype) for a in arrays.values()} == {"float32"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_precisions_edit_too(dtype: str, request_for: Callable[..., EditRequest]) -> None:
    assert edit(request_for(dtype=dtype)).frame_count == FRAMES


def test_more_edit_steps_than_inversion_steps_still_follow_the_source(
    request_for: Callable[..., EditRequest],
) -> None:
    assert edit(request_for(steps=5, inversion_steps=3)).frame_count == FRAMES


def test_a_single_frame_is_refused_before_the_model_loads(
    request_for: Callable[..., EditRequest],
) -> None:
    with pytest.raises(TokenFlowError, match="only one frame"):
        edit(request_for(frames=(2, 3)))
