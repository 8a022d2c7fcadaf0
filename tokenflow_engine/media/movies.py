"""Movie files, decoded by ffmpeg."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..client.errors import TokenFlowError
from . import ffmpeg

TO_RGB = "scale=flags=bicubic+accurate_rnd+full_chroma_int,format=rgb24"
"""The most faithful conversion ffmpeg has; its default trades chroma for speed."""

NTSC_RATES = tuple(n * 1000 / 1001 for n in (24, 30, 48, 60, 120))


@dataclass(frozen=True)
class MovieInfo:
    """frame_count decoded frames of width x height pixels (after rotation) at fps a second."""

    frame_count: int
    width: int
    height: int
    fps: float | None


def inspect(source: Path, until: int | None = None) -> MovieInfo:
    """Decode a movie without keeping its pictures; count at most `until` frames.

    Raises:
        TokenFlowError: code "unreadable_source".
    """
    limit = [] if until is None else ["-frames:v", str(until)]
    status, out, said = ffmpeg.run(
        [
            *("-progress", "pipe:1"),
            *ffmpeg.movie_input(source),
            *("-map", "0:V:0", "-fps_mode", "passthrough", *limit, "-f", "null", "-"),
        ]
    )
    counts = re.findall(rb"^frame=\s*(\d+)", out, re.MULTILINE)
    size = re.search(r"Output #0.*?Video:.*?, (\d+)x(\d+)[ ,\n\[]", said, re.DOTALL)
    if not counts or not int(counts[-1]) or size is None:
        raise _unreadable(source, status, said)
    return MovieInfo(int(counts[-1]), int(size[1]), int(size[2]), _frame_rate(said))


def decode(source: Path, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames `start` to `stop - 1` as uint8 (height, width, 3); fewer at the movie's end.

    Raises:
        TokenFlowError: code "unreadable_source".
    """
    arguments = [
        *ffmpeg.movie_input(source),
        *("-map", "0:V:0", "-fps_mode", "passthrough", "-frames:v", str(stop - start)),
        *("-vf", rf"select=between(n\,{start}\,{stop - 1}),{TO_RGB}"),
        # PPM carries each picture's size, so one that changes midway is noticed.
        *("-f", "image2pipe", "-c:v", "ppm", "pipe:1"),
    ]
    with tempfile.TemporaryFile() as log:
        process = ffmpeg.start(arguments, stdout=subprocess.PIPE, stderr=log.fileno())
        assert process.stdout is not None
        try:
            yield from _pictures(process.stdout, source)
            status = process.wait()
            log.seek(0)
            said = log.read().decode(errors="replace")
            if status and "Output #0" not in said:
                raise _unreadable(source, status, said)
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


def write(path: Path, frames: Iterator[NDArray[np.uint8]], fps: float) -> int:
    """Encode frames (height, width, 3) as H.264; return how many there were.

    The file appears under its name only when it is complete. Sides that are odd are padded with
    their last row or column, since 4:2:0 needs even ones.

    Raises:
        TokenFlowError: code "no_space", when the disk fills up; "internal", when ffmpeg fails
            otherwise.
        ValueError: without frames.
    """
    first = next(frames, None)
    if first is None:
        raise ValueError("a movie needs at least one frame")
    even = _even(first)
    partial = path.with_name(f".{path.stem}.partial{path.suffix or '.mp4'}")
    arguments = [
        *("-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{even.shape[1]}x{even.shape[0]}", "-r", f"{fps:.6f}", "-i", "pipe:0"),
        *("-vf", "scale=flags=bicubic+accurate_rnd:out_color_matrix=bt709:out_range=tv"),
        *("-c:v", "libx264", "-crf", "8", "-preset", "medium", "-pix_fmt", "yuv420p"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        *("-color_range", "tv", "-movflags", "+faststart", f"file:{partial}"),
    ]
    with tempfile.TemporaryFile() as log:
        process = ffmpeg.start(arguments, stdin=subprocess.PIPE, stderr=log.fileno())
        assert process.stdin is not None
        count = 1
        try:
            # A broken pipe says that ffmpeg ended early; its exit status and log say why.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(even.tobytes())
                for frame in frames:
                    process.stdin.write(_even(frame).tobytes())
                    count += 1
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            if process.wait():
                log.seek(0)
                said = log.read().decode(errors="replace")[-4000:]
                raise TokenFlowError(
                    "no_space" if os.strerror(errno.ENOSPC) in said else "internal",
                    f'ffmpeg could not write "{path.name}".',
                    "Check that the folder can be written to and has free space.",
                    said,
                )
            partial.replace(path)
        finally:
            process.kill()
            process.wait()
            partial.unlink(missing_ok=True)
    return count


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _pictures(stream: IO[bytes], source: Path) -> Iterator[NDArray[np.uint8]]:
    """Split a stream of binary PPM pictures."""
    first_size: tuple[int, int] | None = None
    while stream.readline():
        width, height = (int(n) for n in stream.readline().split())
        stream.readline()
        pixels = stream.read(width * height * 3)
        if len(pixels) < width * height * 3:
            return
        first_size = first_size or (width, height)
        if (width, height) != first_size:
            raise TokenFlowError(
                "unreadable_source",
                f'The pictures of "{source.name}" change from {first_size[0]}x{first_size[1]} to '
                f"{width}x{height} pixels midway.",
                "Convert the movie to one size first.",
            )
        yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _frame_rate(said: str) -> float | None:
    """The rate ffmpeg printed, with its two digits restored to the NTSC rate they stand for."""
    printed = re.search(r"Stream #0.*?Video:.*?, ([\d.]+)(k?) fps", said)
    if printed is None:
        return None
    rate = float(printed[1]) * (1000 if printed[2] else 1)
    return next((ntsc for ntsc in NTSC_RATES if abs(ntsc - rate) < 0.006), rate) or None


def _unreadable(source: Path, status: int, said: str) -> TokenFlowError:
    if source.stat().st_size == 0:
        message, remedy = f'"{source.name}" is empty.', "Check that it was copied completely."
    elif "matches no streams" in said:
        message = f'"{source.name}" holds no pictures.'
        remedy = "Choose a movie; a sound file cannot be edited."
    else:
        message = f'"{source.name}" cannot be read as a movie.'
        remedy = "Check that the file is complete and plays elsewhere, or convert it."
    return TokenFlowError(
        "unreadable_source", message, remedy, f"ffmpeg ended with {status}\n{said[-4000:]}"
    )
