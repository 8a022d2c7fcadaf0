"""Frames out of a source: a movie file, a folder of numbered pictures, or one picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..client.errors import TokenFlowError
from . import movies, stills

Frame = NDArray[np.uint8]
"""One picture, uint8 (height, width, 3), sRGB-encoded RGB."""


@dataclass(frozen=True)
class SourceInfo:
    """What a source holds.

    kind: "movie" for a movie file, "images" for pictures.
    frame_count: pictures that can be read; when `probe` was told where to stop, at most that many.
    width, height: pixels of a picture as it is shown, so after the movie's rotation.
    fps: frames a second, the average where the rate varies; None for pictures.
    """

    kind: Literal["movie", "images"]
    frame_count: int
    width: int
    height: int
    fps: float | None


def probe(source: Path, until: int | None = None) -> SourceInfo:
    """Look at a source and count its frames exactly.

    A movie is counted by decoding it, since containers promise counts that decoders do not keep.
    `until` ends the counting at that many frames, for a short range out of a long movie.

    Raises:
        TokenFlowError: code "unreadable_source", for a source that is missing, is damaged, holds
            no pictures, or holds pictures that do not belong together.
    """
    _require_existing(source)
    if source.is_dir() or stills.is_picture(source):
        pictures = stills.numbered_pictures(source)
        width, height = stills.common_size(pictures)
        return SourceInfo("images", len(pictures), width, height, None)
    movie = movies.inspect(source, until)
    return SourceInfo("movie", movie.frame_count, movie.width, movie.height, movie.fps)


def read_frames(source: Path, start: int, stop: int) -> Iterator[Frame]:
    """Yield the frames `start` to `stop - 1`, counted from 0, one at a time.

    Each frame is uint8 (height, width, 3), RGB, a transparent picture over mid-grey
    (see `media.alpha`), a movie without its alpha. Frames come in the order they are
    shown, each exactly once, also when the movie's rate varies. A movie is decoded from its
    beginning, because seeking is not exact in every container.

    Raises:
        TokenFlowError: code "unreadable_source", for what `probe` raises it for, and when the
            source holds fewer than `stop` frames. A movie's end is only found when it is reached.
    """
    _require_existing(source)
    if not 0 <= start < stop:
        raise TokenFlowError(
            "unreadable_source",
            f"The frame range {start}:{stop} is empty.",
            "Give first:last+1, counted from 0.",
        )
    if source.is_dir() or stills.is_picture(source):
        pictures = stills.numbered_pictures(source)
        size = stills.common_size(pictures)
        if stop > len(pictures):
            raise beyond_end(source, start, stop, len(pictures))
        return (stills.read_picture(path, size) for path in pictures[start:stop])
    return _movie_frames(source, start, stop)


def beyond_end(source: Path, start: int, stop: int, frame_count: int) -> TokenFlowError:
    """The error for a frame range that a source does not hold."""
    return TokenFlowError(
        "unreadable_source",
        f'The frame range {start}:{stop} is outside of "{source.name}", which has '
        f"{frame_count} {'frame' if frame_count == 1 else 'frames'}.",
        f"Choose a range within 0:{frame_count}.",
    )


def _movie_frames(source: Path, start: int, stop: int) -> Iterator[Frame]:
    count = 0
    for frame in movies.decode(source, start, stop):
        count += 1
        yield frame
    if count < stop - start:
        raise beyond_end(source, start, stop, movies.inspect(source, stop).frame_count)


def _require_existing(source: Path) -> None:
    if not source.exists():
        raise TokenFlowError(
            "unreadable_source",
            f'There is no file or folder "{source}".',
            "Check the path, or relink the strip to its file.",
        )
