"""One edit shared among processes: equal to one alone, and gone when it is over."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_runs import GOLDEN

from tokenflow_engine import EditRequest, edit
from tokenflow_engine.client.errors import Cancelled, TokenFlowError
from tokenflow_engine.client.progress import Progress
from tokenflow_engine.media.frames import read_frames
from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.phases.ranks import Ranks
from tokenflow_engine.phases.workers import ranks_of
from tokenflow_engine.toyworld.clips import sample_clip

FRAMES = 7


@pytest.fixture
def request_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EditRequest]:
    """An edit by the small recorded model, in chunks that fall to both processes."""
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "cache"))
    clip = write_numbered(tmp_path / "clip", sample_clip(5, "roll", FRAMES, 64, 64).frames)
    threads = torch.get_num_threads()
    # One thread each: a sum that is split among threads differs in its last bit.
    torch.set_num_threads(1)
    yield EditRequest(
        source=str(clip),
        prompt="a shiny silver robotic wolf",
        output=str(tmp_path / "two"),
        model=str(GOLDEN / "pipeline"),
        steps=3,
        inversion_steps=3,
        chunk=2,
        processes=2,
    )
    torch.set_num_threads(threads)


def pictures(request: EditRequest) -> np.ndarray:
    return np.stack(list(read_frames(Path(request.output), 0, FRAMES)))


def end_at_once(request: EditRequest, ranks: Ranks) -> None:
    os._exit(3)


def test_two_processes_make_the_same_pictures_as_one_bit_for_bit(
    request_of_two: EditRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[Progress] = []
    edit(request_of_two, progress=reports.append)
    assert not multiprocessing.active_children()
    alone = replace(request_of_two, processes=1, output=str(tmp_path / "one"))
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "another cache"))
    result = edit(alone)
    assert np.array_equal(pictures(request_of_two), pictures(alone))
    assert result.reconstruction_psnr is not None
    # Everything is counted, whoever did it, and once.
    last = {report.phase: report for report in reports}
    assert all(last[phase].done == last[phase].total for phase in ("invert", "correspond", "edit"))


def test_a_cancelled_edit_leaves_no_process_behind(request_of_two: EditRequest) -> None:
    seen: list[Any] = []

    def cancelled() -> bool:
        return any(report.phase == "correspond" for report in seen)

    with pytest.raises(Cancelled):
        edit(request_of_two, progress=seen.append, cancelled=cancelled)
    assert not multiprocessing.active_children()
    assert not Path(request_of_two.output).exists()


def test_a_process_that_ends_is_told_in_a_sentence(request_of_two: EditRequest) -> None:
    with (
        pytest.raises(TokenFlowError, match="has ended") as told,
        ranks_of(request_of_two, end_at_once) as ranks,
    ):
        ranks.collect(1, tuple, lambda: None)
    assert "fewer processes" in told.value.remedy
    assert not multiprocessing.active_children()
