"""The engine's media room: frames in, pictures and arrays out, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.client.spoken import spoken_bytes
from tokenflow_engine.media.alpha import BACKDROP, without_backdrop
from tokenflow_engine.media.fit import fit_frame, fit_size, result_size
from tokenflow_engine.media.frames import probe, read_frames
from tokenflow_engine.media.latents import LatentStore, open_sealed
from tokenflow_engine.media.picture_files import linear, write_picture
from tokenflow_engine.media.pictures import (
    contact_sheet,
    evenly_spaced,
    write_movie,
    write_numbered,
    write_png,
)
from tokenflow_engine.media.staging import require_free_space, staged_folder
from tokenflow_engine.media.stills import read_alpha

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


# Movies


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

    frames = read_frames(footage("bigbuckbunny.mp4"), 0, 132)
    next(frames)
    assert psutil.Process().children(recursive=True)
    frames.close()  # type: ignore[attr-defined]
    assert not [c for c in psutil.Process().children() if c.status() != psutil.STATUS_ZOMBIE]


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


# Pictures


def picture_folder(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for frame, name in zip(ramp(len(names)), names, strict=True):
        Image.fromarray(frame).save(folder / name, quality=98)
    return folder


def test_numbered_pictures_come_in_natural_order_with_gaps_closed(tmp_path: Path) -> None:
    folder = picture_folder(
        tmp_path / "shot", ["a1.jpg", "a2.PNG", "a9.tif", "a10.jpeg", "a100.png"]
    )
    (folder / "notes.txt").write_text("not a picture")
    (folder / "._a3.png").write_bytes(b"resource fork")
    info = probe(folder)
    assert (info.kind, info.frame_count, info.width, info.height) == ("images", 5, 64, 48)
    assert info.fps is None
    assert numbers(read_frames(folder, 0, 5)) == [0, 1, 2, 3, 4]
    assert numbers(read_frames(folder, 2, 4)) == [2, 3]
    assert "has 5 frames" in error_of(lambda: read_frames(folder, 3, 6)).message


def test_one_picture_is_a_source_of_one_frame(tmp_path: Path) -> None:
    write_png(tmp_path / "still.png", next(ramp(1)))
    assert probe(tmp_path / "still.png").frame_count == 1
    assert len(list(read_frames(tmp_path / "still.png", 0, 1))) == 1


def test_folders_that_are_no_sequence_say_why(tmp_path: Path) -> None:
    cases = {
        "holds no pictures": [],
        "has no number": ["0001.png", "thumbnail.png"],
        "more than one sequence": ["a1.png", "b1.png"],
        "same number": ["1.png", "01.png"],
    }
    for index, (message, names) in enumerate(cases.items()):
        folder = picture_folder(tmp_path / str(index), names)
        error = error_of(lambda folder=folder: probe(folder))  # type: ignore[misc]
        assert (error.code, message in error.message) == ("unreadable_source", True), error.message


def test_mixed_sizes_and_damaged_pictures_are_named(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "mixed", ["1.png", "2.png"])
    write_png(folder / "3.png", next(ramp(1, 32, 32)))
    assert '"3.png" has 32x32 pixels' in error_of(lambda: probe(folder)).message
    whole = (folder / "2.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    assert '"3.png" cannot be read' in error_of(lambda: list(read_frames(folder, 0, 3))).message
    (folder / "3.png").write_bytes(b"\x89PNG no")
    assert '"3.png" cannot be read' in error_of(lambda: probe(folder)).message


def test_sixteen_bit_pictures_are_rounded_and_transparent_ones_lie_over_grey(
    tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    deep = np.arange(64 * 64 * 3, dtype=np.uint16).reshape(64, 64, 3) * 5 + 77
    (tmp_path / "deep.raw").write_bytes(deep.tobytes())
    expected = np.round(deep / 257).astype(np.uint8)
    for suffix in ("png", "tif"):
        folder = tmp_path / f"100%04d {suffix}"
        folder.mkdir()
        ffmpeg(
            *("-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "64x64", "-i", tmp_path / "deep.raw"),
            *("-update", 1, "-frames:v", 1, tmp_path / f"1.{suffix}"),
        )
        (tmp_path / f"1.{suffix}").rename(folder / f"50%d 1.{suffix}")
        (frame,) = read_frames(folder, 0, 1)
        assert np.array_equal(frame, expected), suffix
    grey = tmp_path / "grey"
    grey.mkdir()
    Image.fromarray(deep[..., 0]).save(grey / "1.png")
    (frame,) = read_frames(grey, 0, 1)
    assert np.array_equal(frame[..., 1], expected[..., 0])
    clear = np.dstack([next(ramp(1)), np.zeros((48, 64), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear1.png")
    (frame,) = read_frames(tmp_path / "clear1.png", 0, 1)
    assert np.all(frame == BACKDROP)


# Results


def transparent(rng: np.random.Generator, depth: type) -> np.ndarray:
    high = np.iinfo(depth).max
    rgba = rng.integers(0, high, (40, 56, 4), dtype=depth, endpoint=True)
    rgba[:20, :, 3], rgba[20:25, :, 3] = high, 0
    return rgba


def test_alpha_comes_back_to_the_bit_and_the_backdrop_goes(tmp_path: Path) -> None:
    rgba = transparent(np.random.default_rng(1), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "in.png")
    (seen,) = read_frames(tmp_path / "in.png", 0, 1)
    alpha = read_alpha(tmp_path / "in.png")
    assert alpha is not None
    assert np.array_equal(seen[:20], rgba[:20, :, :3])
    assert np.all(seen[20:25] == BACKDROP)
    levels = without_backdrop(seen.astype(np.float32), alpha)
    write_picture(tmp_path, 0, "png8", levels, alpha)
    with Image.open(tmp_path / "00000.png") as picture:
        back = np.asarray(picture)
    assert np.array_equal(back[..., 3], rgba[..., 3])
    assert np.array_equal(back[:20], rgba[:20])
    # What is seen over any background: the rounding to whole levels before, seen as one level.
    share = rgba[25:, :, 3:].astype(float) / 255
    difference = np.abs(back[25:, :, :3] * share - rgba[25:, :, :3] * share)
    assert difference.max() <= 1


def test_sixteen_bits_go_in_and_out(tmp_path: Path) -> None:
    rgba = transparent(np.random.default_rng(2), np.uint16)
    alpha, levels = rgba[..., 3], rgba[..., :3] / np.float32(257)
    write_picture(tmp_path, 3, "png16", levels, alpha)
    written = cv2.imread(str(tmp_path / "00003.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written[..., [2, 1, 0, 3]], rgba)
    assert np.array_equal(read_alpha(tmp_path / "00003.png"), alpha)
    (seen,) = read_frames(tmp_path / "00003.png", 0, 1)
    assert np.array_equal(seen[:20], np.rint(levels[:20]).astype(np.uint8))


@pytest.mark.parametrize("channels", [3, 4])
def test_exr_holds_linear_light_and_associated_alpha(
    channels: int, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    rgba = transparent(np.random.default_rng(3), np.uint16)
    levels, alpha = rgba[..., :3] / np.float32(257), rgba[..., 3] if channels == 4 else None
    write_picture(tmp_path, 0, "exr", levels, alpha)
    layout = "gbrpf16le" if channels == 3 else "gbrapf16le"
    raw = tmp_path / "raw"
    ffmpeg("-i", tmp_path / "00000.exr", "-f", "rawvideo", "-pix_fmt", layout, raw)
    planes = np.frombuffer(raw.read_bytes(), "<f2").reshape(channels, 40, 56)
    share = 1.0 if alpha is None else alpha / 65535
    for plane, channel in enumerate((1, 2, 0)):
        expected = linear(levels[..., channel] / 255) * share
        # Half floats have 11 bits.
        assert np.allclose(planes[plane], expected, rtol=2**-10, atol=2**-24)


def test_a_picture_without_transparency_has_no_alpha(tmp_path: Path) -> None:
    rgba = transparent(np.random.default_rng(4), np.uint8)
    rgba[..., 3] = 255
    Image.fromarray(rgba).save(tmp_path / "opaque.png")
    Image.fromarray(rgba[..., :3]).save(tmp_path / "rgb.png")
    assert read_alpha(tmp_path / "opaque.png") is None
    assert read_alpha(tmp_path / "rgb.png") is None
    (seen,) = read_frames(tmp_path / "opaque.png", 0, 1)
    assert np.array_equal(seen, rgba[..., :3])


def test_results_have_the_sources_resolution_unless_a_larger_one_was_asked_for() -> None:
    assert result_size((1920, 1080), (912, 512), asked_for=False) == (1920, 1080)
    assert result_size((1920, 1080), (912, 512), asked_for=True) == (1920, 1080)
    assert result_size((1920, 1080), (512, 512), asked_for=True) == (1080, 1080)
    assert result_size((61, 47), (80, 64), asked_for=False) == (61, 47)
    assert result_size((61, 47), (512, 384), asked_for=True) == (512, 384)


# Fitting


def test_sizes_fit_whole_cells() -> None:
    assert fit_size((1280, 720), (256, 128)) == (256, 128)
    assert fit_size((640, 360), None) == (640, 360)
    assert fit_size((641, 363), None) == (640, 360)
    assert fit_size((1024, 1024), None, native=512) == (1024, 1024)
    assert fit_size((1920, 1080), None, native=512) == (912, 512)
    assert fit_size((1080, 1920), None, native=512) == (512, 912)
    assert fit_size((192, 192), None, native=128) == (192, 192)
    assert fit_size((640, 272), None, native=128) == (304, 128)
    assert fit_size((40, 20), None) == (128, 64)
    assert all(n % 8 == 0 and n >= 64 for n in fit_size((1, 1), None))


def test_equal_size_is_the_same_frame_and_rounding_keeps_the_framing() -> None:
    frame = next(ramp(1, 130, 67))
    assert fit_frame(frame, (130, 67)) is frame
    resized = fit_frame(frame, fit_size((130, 67), None))
    assert np.array_equal(
        resized, np.asarray(Image.fromarray(frame).resize((128, 64), Image.Resampling.LANCZOS))
    )


def test_another_aspect_is_cropped_at_the_centre() -> None:
    frame = np.zeros((100, 300, 3), np.uint8)
    frame[:, 100:200] = 255
    square = fit_frame(frame, (64, 64))
    assert square.shape == (64, 64, 3) and square[:, 2:-2].min() > 200
    tall = fit_frame(frame.transpose(1, 0, 2).copy(), (128, 128))
    assert tall.shape == (128, 128, 3) and tall[2:-2].min() > 200


# Pictures to look at


def test_contact_sheet_shows_evenly_spaced_columns_in_labelled_rows() -> None:
    rows = [list(ramp(9)), [255 - frame for frame in ramp(9, 32, 24)]]
    sheet = contact_sheet(rows, ["source", "edit"], columns=5)
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 6 + 5 * (64 + 6)
    assert evenly_spaced(9, 5) == [0, 2, 4, 6, 8]
    assert evenly_spaced(3, 5) == [0, 1, 2] and evenly_spaced(7, 1) == [0]
    assert (sheet > 200).all(axis=2).any(), "the labels' ink"


# Staging


def result(folder: Path, frames: int, note: str = "{}") -> None:
    write_numbered(folder, ramp(frames))
    (folder / "edit.json").write_text(note)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_result_appears_whole_and_replaces_an_older_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out [1]"
    with staged_folder(target) as staging:
        result(staging, 3, "first")
        assert not target.exists() and staging.parent == target.parent
    assert names(target) == ["00000.png", "00001.png", "00002.png", "edit.json"]
    (target / "Thumbs.db").touch()
    with staged_folder(target) as staging:
        result(staging, 1, "second")
        assert (target / "edit.json").read_text() == "first"
    assert names(target) == ["00000.png", "edit.json"]
    assert names(target.parent) == ["out [1]"]


def test_failure_leaves_the_older_result_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), staged_folder(target):
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    with staged_folder(target) as staging:
        result(staging, 2, "kept")
    with pytest.raises(RuntimeError), staged_folder(target) as staging:
        result(staging, 1)
        raise RuntimeError
    assert (target / "edit.json").read_text() == "kept" and names(tmp_path) == ["out"]


def test_folder_that_another_process_takes_away_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "shot_tokenflow" / "strip_1"
    taken_away = iter([True, True])
    make = Path.mkdir

    def mkdir(path: Path, *arguments: Any, **named: Any) -> None:
        if path.parent == target.parent and next(taken_away, False):
            target.parent.rmdir()
        make(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with staged_folder(target) as staging:
        result(staging, 1)
    assert names(target) == ["00000.png", "edit.json"]


def test_folder_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    target = tmp_path / "footage"
    target.mkdir()
    (target / "precious.mov").write_text("x")
    with pytest.raises(TokenFlowError, match=r"precious\.mov"), staged_folder(target):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["footage"] and names(target) == ["precious.mov"]
    target = tmp_path / "footage" / "precious.mov"
    with pytest.raises(TokenFlowError, match="is a file"), staged_folder(target):
        pytest.fail("the block must not run")


def test_file_that_appears_during_the_edit_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(TokenFlowError, match="notes"), staged_folder(target) as staging:
        result(staging, 1)
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    assert names(target) == ["notes.txt"] and names(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tokenflow_engine.media.staging import staged_folder
with staged_folder(Path(sys.argv[1])) as staging:
    (staging / "00000.png").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_killed_process_left_is_cleared_by_the_next_edit(
    tmp_path: Path, checkout: Path
) -> None:
    target = tmp_path / "out"
    subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=checkout, timeout=60)
    assert not target.exists() and len(names(tmp_path)) == 1
    with staged_folder(target) as staging:
        result(staging, 1)
    assert names(tmp_path) == ["out"]


def test_swap_interrupted_between_its_two_renames_is_undone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged_folder(target) as staging:
        result(staging, 2, "older")
    target.rename(tmp_path / ".out.previous")
    with pytest.raises(RuntimeError), staged_folder(target):
        raise RuntimeError
    assert (target / "edit.json").read_text() == "older" and names(tmp_path) == ["out"]


def test_full_disk_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(TokenFlowError) as caught, staged_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.code == "no_space" and "are free" in caught.value.message
    assert names(tmp_path) == []
    error = error_of(lambda: require_free_space(tmp_path / "not" / "yet", 2**60))
    assert error.code == "no_space"
    assert "needs about 1152922 TB" in error.message
    require_free_space(tmp_path, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_really_full_device_maps_to_no_space(tmp_path: Path) -> None:
    with pytest.raises(TokenFlowError) as caught, staged_folder(tmp_path / "out") as staging:
        (staging / "00000.png").symlink_to("/dev/full")
        with (staging / "00000.png").open("wb") as file:
            file.write(b"x" * 10000)
    assert caught.value.code == "no_space"


def test_sizes_are_spoken_with_two_figures() -> None:
    spoken = [spoken_bytes(n) for n in (12, 2100, 640_000_000, 1_200_000_000, 3_000_000_000)]
    assert spoken == ["12 bytes", "2.1 KB", "640 MB", "1.2 GB", "3 GB"]
    assert [spoken_bytes(n) for n in (999_999, 9_990_000_000)] == ["1 MB", "10 GB"]


# Latents


def test_latents_come_back_as_written_once_sealed(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).normal(size=(10, 4, 8, 6)).astype(np.float16)
    store = LatentStore(tmp_path / "latents")
    store.create("t0801", drawn.shape, np.float16)
    store.create("field-3", (10, 48), np.int32)
    store.write("t0801", slice(4, 10), drawn[4:])
    store.write("t0801", [3, 1, 0], drawn[[3, 1, 0]])
    assert open_sealed(tmp_path / "latents") is None
    with pytest.raises(ValueError, match="1 rows were not written, first 2"):
        store.seal()
    store.write("t0801", 2, drawn[2])
    field = np.arange(480, dtype=np.int32).reshape(10, 48)
    store.write("field-3", slice(None), field)
    store.seal()
    opened = open_sealed(tmp_path / "latents", verify=True)
    assert opened is not None and opened.keys() == ["t0801", "field-3"]
    assert (opened.shape("t0801"), opened.dtype("t0801")) == ((10, 4, 8, 6), np.float16)
    assert np.array_equal(opened.read("t0801", slice(None)), drawn)
    assert np.array_equal(opened.read("t0801", [7, 0, 7]), drawn[[7, 0, 7]])
    assert np.array_equal(opened.read("t0801", 5), drawn[5])
    assert np.array_equal(np.load(tmp_path / "latents" / "field-3.npy"), field)


def sealed(folder: Path) -> Path:
    store = LatentStore(folder)
    store.create("t1", (4, 5), np.float32)
    store.write("t1", slice(None), np.ones((4, 5), np.float32))
    store.seal()
    return folder


def test_damaged_stores_do_not_open(tmp_path: Path) -> None:
    short = sealed(tmp_path / "short")
    data = (short / "t1.npy").read_bytes()
    (short / "t1.npy").write_bytes(data[:-4])
    gone = sealed(tmp_path / "gone")
    (gone / "t1.npy").unlink()
    scribbled = sealed(tmp_path / "scribbled")
    (scribbled / "manifest.json").write_text("{")
    strange = sealed(tmp_path / "strange")
    (strange / "manifest.json").write_text(json.dumps({"t1": {"shape": [4, 5]}}))
    for folder in (short, gone, scribbled, strange, tmp_path / "missing"):
        assert open_sealed(folder) is None, folder.name
    flipped = sealed(tmp_path / "flipped")
    (flipped / "t1.npy").write_bytes(data[:-1] + b"\x01")
    assert open_sealed(flipped) is not None
    assert open_sealed(flipped, verify=True) is None


def test_starting_a_store_deletes_arrays_but_no_other_files(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "store")
    (folder / "note.txt").write_text("mine")
    store = LatentStore(folder)
    assert names(folder) == ["note.txt"] and store.keys() == []
    with pytest.raises(ValueError, match="name"):
        store.create("../escape", (1,), np.int8)
    store.create("a", (2, 3), np.int8)
    with pytest.raises(ValueError, match="shape"):
        store.write("a", slice(None), np.zeros((2, 4), np.int8))
    with pytest.raises(ValueError, match="name"):
        store.create("a", (2, 3), np.int8)


MEMORY = """
import sys, resource
from pathlib import Path
import numpy as np
from tokenflow_engine.media.latents import LatentStore, open_sealed
store = LatentStore(Path(sys.argv[1]))
store.create("t", (4000, 4, 64, 64), np.float16)
block = np.ones((8, 4, 64, 64), np.float16)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for first in range(0, 4000, 8):
    store.write("t", slice(first, first + 8), block)
store.seal()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak in Linux's unit")
def test_writing_four_thousand_frames_keeps_memory_flat(tmp_path: Path, checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "long")],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert int(done.stdout) < 20, "MiB, of 125 written"
