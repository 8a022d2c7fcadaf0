"""How many pieces a long clip is edited in; where they lie is the engine's to know."""

from __future__ import annotations


def piece_count(frame_count: int, length: int, chunk: int) -> int:
    """Pieces of at most `length` frames, rounded up to whole chunks; one if length is 0."""
    return -(-frame_count // (-(-length // chunk) * chunk)) if length else 1
