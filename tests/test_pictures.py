"""Numbered pictures in, results out: bits, alpha, linear light, sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_movies import error_of, numbers, ramp

from tokenflow_engine.media.alpha import BACKDROP, without_backdrop
from tokenflow_engine.media.fit import fit_frame, fit_size, result_size
from tokenflow_engine.media.frames import probe, read_frames
from tokenflow_engine.media.picture_files import linear, write_picture
from tokenflow_engine.media.pictures import contact_sheet, evenly_spaced, write_png
from tokenflow_engine.media.stills import read_alpha

Ffmpeg = Callable[..., None]

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
