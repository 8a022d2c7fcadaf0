"""A long clip in pieces: what each holds, that they join without a seam, wherever edited."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden_runs import GOLDEN

from tokenflow_engine import EditRequest, edit
from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.client.progress import Progress
from tokenflow_engine.media.frames import read_frames
from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.tokenflow.keyframes import draw_schedule, spread
from tokenflow_engine.tokenflow.pieces import ANCHORS, pieces_of, schedule_of, share_of
from tokenflow_engine.toyworld.clips import sample_clip

FRAMES = 16


@pytest.mark.parametrize("count", [1, 7, 8, 96, 97, 100, 193, 1000])
@pytest.mark.parametrize("length", [0, 5, 96])
def test_pieces_make_up_the_clip_in_whole_chunks(count: int, length: int) -> None:
    pieces = pieces_of(count, length, 8)
    assert [frame for piece in pieces for frame in piece.own] == list(range(count))
    assert all(piece.own.start % 8 == 0 for piece in pieces)
    if length:
        assert max(len(piece.own) for piece in pieces) <= -(-length // 8) * 8
    anchors = set(spread(count, ANCHORS))
    for piece in pieces:
        assert list(piece.frames) == sorted(set(piece.frames)) and {*piece.own} <= {*piece.frames}
        assert len(pieces) == 1 or anchors <= set(piece.frames)


@pytest.mark.parametrize("count", [40, 100, 193])
def test_shares_of_all_pieces_add_up_to_one_and_end_before_the_pieces_do(count: int) -> None:
    total = np.zeros(count)
    for piece in pieces_of(count, 16, 8):
        shares = share_of(piece, range(count), count, 8)
        total += shares
        given = {frame for frame, share in enumerate(shares) if share > 0}
        assert given <= set(piece.frames)
        # Half a chunk of frames on either side only keeps the piece's own company.
        around = range(piece.frames[0], piece.frames[-1] + 1)
        assert set(piece.own) - given == set() and given <= set(around)
    assert total == pytest.approx(np.ones(count))


def test_every_step_of_a_piece_has_the_anchors_and_its_own_chunks_keyframes() -> None:
    schedule = draw_schedule(100, 8, 5, seed=3)
    for piece in pieces_of(100, 32, 8):
        own = schedule_of(piece, schedule, 100)
        for step, keyframes in enumerate(own):
            assert set(spread(100, ANCHORS)) <= set(keyframes) <= set(piece.frames)
            assert set(schedule[step]) & set(piece.own) <= set(keyframes)


@pytest.fixture
def request_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EditRequest:
    """An edit by the small recorded model, in two pieces of four chunks."""
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "cache"))
    clip = write_numbered(tmp_path / "clip", sample_clip(5, "roll", FRAMES, 64, 64).frames)
    return EditRequest(
        source=str(clip),
        prompt="a shiny silver robotic wolf",
        source_prompt="a wolf",
        output=str(tmp_path / "whole"),
        model=str(GOLDEN / "pipeline"),
        steps=3,
        inversion_steps=3,
        chunk=2,
        piece_frames=8,
    )


def pictures(request: EditRequest) -> np.ndarray:
    return np.stack(list(read_frames(Path(request.output), 0, FRAMES))).astype(int)


def test_pieces_edited_by_others_give_the_frames_that_one_edit_gives(
    request_in_pieces: EditRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(request_in_pieces)
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "shared"))
    joined = replace(request_in_pieces, output=str(tmp_path / "joined"))
    for number in (1, 0):
        part = replace(joined, piece=number, last_phase="edit")
        edit(part)
        assert not Path(joined.output).exists()
    reports: list[Progress] = []
    edit(joined, progress=reports.append)
    assert np.array_equal(pictures(request_in_pieces), pictures(joined))
    assert not any(r.phase in ("invert", "correspond", "edit") and r.done for r in reports)


def test_pieces_hold_together_and_differ_little_from_the_edit_in_one(
    request_in_pieces: EditRequest, tmp_path: Path
) -> None:
    edit(request_in_pieces)
    whole = replace(request_in_pieces, piece_frames=0, output=str(tmp_path / "one"))
    edit(whole)
    source = np.stack(list(read_frames(Path(whole.source), 0, FRAMES))).astype(int)
    pieces, one = pictures(request_in_pieces), pictures(whole)
    assert np.abs(pieces - one).mean() < np.abs(one - source).mean() / 2
    # From frame to frame nothing jumps where the pieces meet.
    changes = np.abs(np.diff(pieces, axis=0)).mean(axis=(1, 2, 3))
    assert changes[7] < 2 * np.median(changes)


def test_what_cannot_be_edited_in_pieces_is_refused(request_in_pieces: EditRequest) -> None:
    with pytest.raises(TokenFlowError, match="in pieces in mode reference"):
        replace(request_in_pieces, mode="reference").validated()
    with pytest.raises(TokenFlowError, match="no piece 2"):
        edit(replace(request_in_pieces, piece=2, last_phase="edit"))
