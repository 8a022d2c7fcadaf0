"""Which keyframes are in one UNet call, and what each of them attends to, however long the clip is.

Up to a limit all keyframes are edited in one call and attend to each other (section 4.1). Beyond it
they come in windows, each half over the next. A keyframe of a window attends to the window and to a
few anchors spread over the clip, which hold the look together. What its two windows make of a
keyframe is blended by weights that rise and fall linearly (as MultiDiffusion blends the panes of a
panorama, Bar-Tal et al., ICML 2023, arXiv:2302.08113), so that no keyframe is a border. The windows
also begin elsewhere in each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .keyframes import chunks
from .propagation import Blend

ALL_AT_ONCE = 16
"""Most keyframes that are edited in one call unless a window is asked for."""
WINDOW = 8
"""Keyframes of a window; with the anchors, each attends to at most 10 frames."""
ANCHORS = 2
GOLDEN_RATIO = 0.6180339887498949
"""By what share of a window's half the windows move from step to step: all places come about as
often."""


class Window(NamedTuple):
    """Keyframes of one UNet call. All numbers are places in the step's list of keyframes.

    slots: they are edited in this call. weights: the call's share in each of them; over all
        windows the shares of a keyframe add up to 1. anchors: they are attended to as well.
    final: keyframes before this place are in no later window.
    """

    slots: tuple[int, ...]
    weights: tuple[float, ...]
    anchors: tuple[int, ...]
    final: int


class FrameBatch(NamedTuple):
    """Frames to propagate in one UNet call.

    blends: their slots count from `first`, the first keyframe that is still needed.
    """

    frames: tuple[int, ...]
    blends: tuple[Blend, ...]
    first: int


def window_size(keyframes: int, mode: str, wanted: int) -> int:
    """Keyframes in a window; all of them where they are edited in one call.

    wanted: an `EditRequest`'s `window`. The released code knows no windows, so that mode
    "reference" has none unless they are asked for.
    """
    if wanted:
        return min(wanted, keyframes)
    if mode == "reference" or keyframes <= ALL_AT_ONCE:
        return keyframes
    return WINDOW


def anchors_of(count: int, size: int) -> tuple[int, ...]:
    """Evenly spread keyframes that every window attends to; none where one window holds all.

    They are edited before the windows, together, and again in their own windows.
    """
    if count <= size:
        return ()
    return tuple((2 * i + 1) * count // (2 * ANCHORS) for i in range(ANCHORS))


def windows(count: int, size: int, step: int) -> list[Window]:
    """The windows of at most `size` over `count` keyframes in a denoising step, in order."""
    if count <= size:
        return [one_call(range(count))]
    half = max(1, size // 2)
    offset = int(step * GOLDEN_RATIO % 1 * half)
    starts = [s for s in range(-offset, count, half) if s <= 0 or s + half < count]
    shares = [
        {k: half - abs(k + 0.5 - s - half) for k in range(max(0, s), min(s + 2 * half, count))}
        for s in starts
    ]
    sums = [sum(share.get(k, 0.0) for share in shares) for k in range(count)]
    found = []
    for share, following in zip(shares, [*shares[1:], {count: 0.0}], strict=True):
        weights = tuple(value / sums[k] for k, value in share.items())
        anchors = tuple(k for k in anchors_of(count, size) if k not in share)
        found.append(Window(tuple(share), weights, anchors, min(following)))
    return found


def one_by_one(count: int, batch: int) -> list[Window]:
    """Windows of at most `batch` keyframes that attend to nothing but themselves."""
    return [one_call(part) for part in chunks(range(count), batch)]


def sweep(
    parts: Sequence[Window], frames: Sequence[int], blend: Callable[[int], Blend], batch: int
) -> Iterator[Window | FrameBatch]:
    """Windows and frames in an order in which few keyframes have to be kept.

    frames: ascending, to be propagated, at most `batch` in one call. A batch comes as soon as the
    keyframes it is blended from have been; those before its `first` can be forgotten.
    """
    waiting = iter(parts)
    final = 0
    for some in chunks(frames, batch):
        blends = [blend(frame) for frame in some]
        while final <= max(max(b.slots) for b in blends):
            window = next(waiting)
            yield window
            final = window.final
        first = min(min(b.slots) for b in blends)
        moved = (b._replace(slots=(b.slots[0] - first, b.slots[1] - first)) for b in blends)
        yield FrameBatch(some, tuple(moved), first)
    yield from waiting


def one_call(slots: Sequence[int]) -> Window:
    """A window that stands alone."""
    return Window(tuple(slots), (1.0,) * len(slots), (), slots[-1] + 1)
