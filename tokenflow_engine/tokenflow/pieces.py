"""A long clip in pieces that are edited apart, on other machines if need be, and still agree.

Each piece reaches a chunk over its neighbours, and all attend to the same few frames of the clip,
the anchors, as keyframes of every step. Where two pieces overlap their latents are blended by
weights that rise and fall linearly (as the panes of MultiDiffusion, Bar-Tal et al., ICML 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..client.pieces import piece_count
from .keyframes import KeyframeSchedule, spread

ANCHORS = 2


class Piece(NamedTuple):
    """Part of a clip; all numbers are frames of the clip.

    own: what it is there for; the pieces' own frames make up the clip. frames: what is edited for
        it, ascending: its own, a chunk on either side, and the anchors.
    """

    own: range
    frames: tuple[int, ...]


def pieces_of(frame_count: int, length: int, chunk: int) -> list[Piece]:
    """A clip in pieces of about equal length, at most `length` frames rounded up to whole chunks.

    length: 0 for one piece.
    """
    count = -(-frame_count // chunk)
    parts = piece_count(frame_count, length, chunk)
    if parts == 1:
        return [Piece(range(frame_count), tuple(range(frame_count)))]
    starts = [part * count // parts * chunk for part in range(parts)]
    anchors = spread(frame_count, ANCHORS)
    found = []
    for start, stop in zip(starts, [*starts[1:], frame_count], strict=True):
        around = range(max(0, start - chunk), min(frame_count, stop + chunk))
        found.append(Piece(range(start, stop), tuple(sorted({*around, *anchors}))))
    return found


def schedule_of(piece: Piece, schedule: KeyframeSchedule, frame_count: int) -> KeyframeSchedule:
    """The clip's keyframes that are edited for a piece, and the anchors in every step."""
    kept = set(piece.frames)
    anchors = spread(frame_count, ANCHORS)
    return tuple(tuple(sorted({*kept.intersection(step), *anchors})) for step in schedule)


def share_of(piece: Piece, frames: Sequence[int], frame_count: int, chunk: int) -> list[float]:
    """The piece's share in each of these frames; over all pieces the shares add up to 1."""
    own = piece.own

    def passed(border: int, frame: int) -> float:
        return min(1.0, max(0.0, (frame + 0.5 - border) / chunk + 0.5))

    return [
        (passed(own.start, frame) if own.start > 0 else 1.0)
        - (passed(own.stop, frame) if own.stop < frame_count else 0.0)
        for frame in frames
    ]
