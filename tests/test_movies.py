"""Movies: each frame is read once, in order and upright, or it is said why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.media.frames import probe, read_frames
from tokenflow_engine.media.pictures import write_movie, write_png

Frame = NDArray[np.uint8]
Ffmpeg = Callable[..., None]


def ramp(count: int, width: int = 64, height: int = 48) -> Iterator[Frame]:
    """Frames that tell their number: brightness 10 + 8 * index, with a red mark at the top left."""
    for index in range(count):
        frame = np.full((height, width, 3), 10 + 8 * index, np.uint8)
        frame[: height // 3, : width // 3] = (250, 20, 20)
        yield frame


def numbers(frames: Iterator[Frame]) -> list[int]:
    return [round((float(f[-8:, -8:].mean()) - 10) / 8) for f in frames]


def error_of(call: Callable[[], object]) -> TokenFlowError:
    with pytest.raises(TokenFlowError) as caught:
        call()
    assert caught.value.message.endswith(".") and caught.value.remedy.endswith(".")
    return caught.value


def test_movie_is_counted_and_read_in_order(tmp_path: Path) -> None:
    movie = tmp_path / "-odd name 100% é:.mp4"
    write_movie(movie, ramp(20), 24000 / 1001)
    info = probe(movie)
    assert (info.kind, info.frame_count, info.width, info.height) == ("movie", 20, 64, 48)
    assert info.fps == pytest.approx(24000 / 1001, abs=1e-9)
    assert numbers(read_frames(movie, 0, 20)) == list(range(20))
    assert numbers(read_frames(movie, 7, 9)) == [7, 8]
    assert probe(movie, until=5).frame_count == 5


def test_rotated_movie_comes_out_upright(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    write_movie(tmp_path / "flat.mp4", ramp(3), 25)
    turned = tmp_path / "turned.mov"
    ffmpeg("-display_rotation", 90, "-i", tmp_path / "flat.mp4", "-c", "copy", turned)
    info = probe(turned)
    assert (info.width, info.height) == (48, 64)
    (frame,) = read_frames(turned, 0, 1)
    assert frame.shape == (64, 48, 3)
    corner = frame[-8:, :8].mean(axis=(0, 1))
    assert corner[0] > 200 and corner[1] < 60, "turned counter-clockwise, the mark is bottom left"


def test_variable_frame_rate_neither_drops_nor_repeats(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    write_movie(tmp_path / "steady.mp4", ramp(24), 24)
    uneven = tmp_path / "uneven.mkv"
    ffmpeg(
        *("-i", tmp_path / "steady.mp4", "-vf", r"select=lt(n\,4)+eq(n\,11)+gte(n\,20)"),
        *("-fps_mode", "passthrough", "-c:v", "ffv1", uneven),
    )
    assert probe(uneven).frame_count == 9
    assert numbers(read_frames(uneven, 0, 9)) == [0, 1, 2, 3, 11, 20, 21, 22, 23]
    assert numbers(read_frames(uneven, 3, 6)) == [3, 11, 20]


def test_one_frame_and_odd_sizes(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    write_png(tmp_path / "one.png", next(ramp(1, 67, 45)))
    movie = tmp_path / "one.mkv"
    ffmpeg("-i", tmp_path / "one.png", "-c:v", "ffv1", "-pix_fmt", "bgr0", movie)
    info = probe(movie)
    assert (info.frame_count, info.width, info.height) == (1, 67, 45)
    (frame,) = read_frames(movie, 0, 1)
    assert np.array_equal(frame, next(ramp(1, 67, 45)))


def test_colours_survive_the_round_trip(tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 180, 40), (40, 60, 220), (240, 240, 240), (15, 15, 15)]
    frames = [np.full((32, 32, 3), colour, np.uint8) for colour in colours]
    write_movie(tmp_path / "colours.mp4", frames, 5)
    for read, written in zip(read_frames(tmp_path / "colours.mp4", 0, 5), frames, strict=True):
        assert np.abs(read.astype(int) - written).max() <= 4


def test_odd_movie_is_padded_by_its_edge(tmp_path: Path) -> None:
    assert write_movie(tmp_path / "odd.mp4", ramp(2, 65, 47), 10) == 2
    info = probe(tmp_path / "odd.mp4")
    assert (info.width, info.height) == (66, 48)
    assert [p.name for p in tmp_path.iterdir()] == ["odd.mp4"]


def test_failed_movie_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[Frame]:
        yield from ramp(2)
        raise RuntimeError("the renderer died")

    with pytest.raises(RuntimeError):
        write_movie(tmp_path / "half.mp4", broken(), 10)
    with pytest.raises(ValueError, match="at least one frame"):
        write_movie(tmp_path / "none.mp4", [], 10)
    assert list(tmp_path.iterdir()) == []


def test_real_footage_is_read_to_its_last_frame(footage: Callable[[str], Path]) -> None:
    for name, expected in (
        ("bikes.mp4", ("movie", 250, 640, 272, 25.0)),
        ("bigbuckbunny.mp4", ("movie", 132, 1280, 720, 25.0)),
    ):
        info = probe(footage(name))
        assert (info.kind, info.frame_count, info.width, info.height, info.fps) == expected
    last = list(read_frames(footage("bikes.mp4"), 248, 250))
    assert len(last) == 2 and last[0].std() > 10 and not np.array_equal(*last)


def test_abandoned_reading_ends_ffmpeg(footage: Callable[[str], Path]) -> None:
    import psutil

    def living() -> set[int]:
        children = psutil.Process().children()
        return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}

    before = living()
    frames = read_frames(footage("bigbuckbunny.mp4"), 0, 132)
    next(frames)
    assert living() > before
    frames.close()  # type: ignore[attr-defined]
    assert living() <= before


def test_unreadable_movies_say_why(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    sound = tmp_path / "sound.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.3", "-c:a", "aac", sound)
    cover = tmp_path / "cover.mp3"
    write_png(tmp_path / "art.png", next(ramp(1)))
    ffmpeg(
        *("-i", sound, "-i", tmp_path / "art.png", "-map", 0, "-map", 1, "-c:v", "png"),
        *("-disposition:v", "attached_pic", cover),
    )
    write_movie(tmp_path / "whole.mp4", ramp(20), 24)
    cut = tmp_path / "cut.mp4"
    whole = (tmp_path / "whole.mp4").read_bytes()
    cut.write_bytes(whole[:600])
    text = tmp_path / "text.mp4"
    text.write_text("this is no movie\n" * 50)
    (tmp_path / "empty.mp4").touch()
    said = {}
    for name in ("missing.mp4", "sound.m4a", "cover.mp3", "cut.mp4", "text.mp4", "empty.mp4"):
        for call in (probe, lambda source: list(read_frames(source, 0, 2))):
            error = error_of(lambda call=call, name=name: call(tmp_path / name))  # type: ignore[misc]
            assert error.code == "unreadable_source"
            assert name in error.message
            assert said.setdefault(name, error.message) == error.message
    assert "no pictures" in said["sound.m4a"] and "no pictures" in said["cover.mp3"]
    assert "is empty" in said["empty.mp4"] and "There is no file" in said["missing.mp4"]
    assert "cannot be read" in said["cut.mp4"] and "cannot be read" in said["text.mp4"]


def test_movie_cut_short_gives_the_frames_it_has(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    write_movie(tmp_path / "whole.mp4", ramp(20), 24)
    ffmpeg("-i", tmp_path / "whole.mp4", "-c:v", "ffv1", tmp_path / "whole.mkv")
    stream = (tmp_path / "whole.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(stream[: len(stream) * 6 // 10])
    count = probe(cut).frame_count
    assert 0 < count < 20
    assert numbers(read_frames(cut, 0, count)) == list(range(count))


def test_range_beyond_the_end_says_how_many_frames_there_are(tmp_path: Path) -> None:
    write_movie(tmp_path / "clip.mp4", ramp(6), 24)
    for start, stop in ((4, 9), (6, 8), (100, 101)):
        error = error_of(lambda a=start, b=stop: list(read_frames(tmp_path / "clip.mp4", a, b)))  # type: ignore[misc]
        assert error.code == "unreadable_source"
        assert "has 6 frames" in error.message and "0:6" in error.remedy
    assert "is empty" in error_of(lambda: read_frames(tmp_path / "clip.mp4", 3, 3)).message
