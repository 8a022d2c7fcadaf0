"""Which frames are edited jointly at each denoising step (section 4.1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch

from ..client.errors import TokenFlowError

_Item = TypeVar("_Item")

KeyframeSchedule = tuple[tuple[int, ...], ...]
"""For each denoising step the keyframes' frame indices, ascending."""


def draw_schedule(frame_count: int, chunk: int, steps: int, seed: int) -> KeyframeSchedule:
    """One random keyframe out of each chunk of frames, drawn anew for each step.

    The last chunk may be shorter; no frame is dropped.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(start: int) -> int:
        length = min(chunk, frame_count - start)
        return start + int(torch.randint(length, (), generator=generator))

    return tuple(tuple(draw(start) for start in range(0, frame_count, chunk)) for _ in range(steps))


def read_schedule(path: Path, frame_count: int, chunk: int, steps: int) -> KeyframeSchedule:
    """The schedule in a JSON file: for each of `steps` steps, one frame index in each chunk.

    Raises:
        TokenFlowError: code "bad_request", where the file is no such list.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad(path, "can't be read as JSON", steps) from error
    if not isinstance(rows, list) or not all(
        isinstance(row, list) and row and all(type(k) is int for k in row) for row in rows
    ):
        raise _bad(path, "is not a list of lists of frame indices", steps)
    if len(rows) != steps:
        raise _bad(path, f"has {len(rows)} steps", steps)
    for row in rows:
        if list(row) != sorted(set(row)) or not 0 <= row[0] <= row[-1] < frame_count:
            raise _bad(
                path, f"names keyframes that are not ascending within {frame_count} frames", steps
            )
        if [k // chunk for k in row] != list(range(-(-frame_count // chunk))):
            raise _bad(path, f"does not name one keyframe in each chunk of {chunk} frames", steps)
    return tuple(tuple(row) for row in rows)


def spread(frame_count: int, wanted: int) -> tuple[int, ...]:
    """The middle frames of `wanted` equal parts of a clip; all frames of a shorter one."""
    parts = min(frame_count, wanted)
    return tuple((2 * part + 1) * frame_count // (2 * parts) for part in range(parts))


def chunks(frames: Sequence[_Item], size: int) -> list[tuple[_Item, ...]]:
    """Frames, or what belongs to them, in runs of `size`; the last one may be shorter."""
    return [tuple(frames[start : start + size]) for start in range(0, len(frames), size)]


def _bad(path: Path, what: str, steps: int) -> TokenFlowError:
    return TokenFlowError(
        "bad_request",
        f"The keyframe schedule {path.name} {what}.",
        f"Give one list of ascending frame indices for each of the {steps} denoising steps.",
    )
