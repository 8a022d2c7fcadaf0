"""Each wrong input gets one sentence and a remedy, and leaves nothing half-done."""

from __future__ import annotations

import contextlib
import os
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import bpy
from project import FOOTAGE, add_images, add_movie, choose, room


@contextlib.contextmanager
def _refused(saying: str, *, remedy: str) -> Iterator[None]:
    """The operator in this block fails with these words, and nothing else has changed."""
    before = _state()
    try:
        yield
    except RuntimeError as error:
        assert saying in str(error), error
        assert remedy in str(error), error
    else:
        raise AssertionError("nothing was refused")
    assert _state() == before
    # A child process deletes the frames that were read.
    deadline = time.monotonic() + 10
    while list(Path(bpy.app.tempdir).glob("tokenflow_*/frames")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def _engine(python: Path) -> Iterator[None]:
    """Name another interpreter for the engine."""
    before = os.environ["TOKENFLOW_ENGINE_PYTHON"]
    os.environ["TOKENFLOW_ENGINE_PYTHON"] = str(python)
    try:
        yield
    finally:
        os.environ["TOKENFLOW_ENGINE_PYTHON"] = before


def _state() -> tuple[object, ...]:
    editor = bpy.context.scene.sequence_editor
    return (
        len(bpy.data.scenes),
        [(strip.name, strip.channel) for strip in editor.strips_all],
        room("sequencer.queue_timer").edit_queue().unfinished,
    )


def _edit() -> None:
    bpy.ops.tokenflow.edit_strip()


def _prompt(text: str = "a blue ball") -> None:
    bpy.context.scene.tokenflow.prompt = text


def test_no_strip(work: Path) -> None:
    _prompt()
    with _refused("No strip is selected", remedy="Select a strip that shows pictures"):
        _edit()


def test_a_strip_that_is_not_selected(work: Path) -> None:
    _prompt()
    add_movie().select = False
    with _refused("No strip is selected", remedy="Select a strip that shows pictures"):
        _edit()


def test_a_scene_without_a_sequence_editor(work: Path) -> None:
    bpy.context.scene.sequence_editor_clear()
    try:
        _edit()
    except RuntimeError as error:
        assert "No strip is selected" in str(error)
    else:
        raise AssertionError("nothing was refused")


def test_a_sound_strip(work: Path) -> None:
    _prompt()
    file = work / "silence.wav"
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    choose(bpy.context.scene.sequence_editor.strips.new_sound("sound", str(file), 1, 1))
    with _refused("is a sound", remedy="Select the movie or image strip"):
        _edit()


def _scene_strip() -> bpy.types.Strip:
    other = bpy.data.scenes.new("Other")
    strips = bpy.context.scene.sequence_editor.strips
    return choose(strips.new_scene("scene", other, 1, 1))


def test_a_scene_strip_without_a_camera(work: Path) -> None:
    _prompt()
    _scene_strip()
    with _refused('The scene "Other" of "scene" has no camera', remedy="Add a camera"):
        _edit()


def test_a_scene_strip_whose_scene_is_gone(work: Path) -> None:
    _prompt()
    strip = _scene_strip()
    bpy.data.scenes.remove(strip.scene)
    with _refused('The scene of "scene" is gone', remedy="Choose one"):
        _edit()


def test_a_scene_strip_of_an_empty_sequencer(work: Path) -> None:
    _prompt()
    _scene_strip().scene_input = "SEQUENCER"
    with _refused("which is empty", remedy="add strips there"):
        _edit()


def test_a_scene_strip_that_needs_a_graphics_card_where_there_is_none(work: Path) -> None:
    _prompt()
    scene = _scene_strip().scene
    scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    assert scene.render.engine.startswith("BLENDER_EEVEE")
    with _refused("rendered by EEVEE", remedy="by Cycles"):
        _edit()


def test_a_meta_strip_that_shows_nothing(work: Path) -> None:
    _prompt()
    movie = add_movie()
    movie.mute = True
    meta = bpy.context.scene.sequence_editor.strips.new_meta("meta", 5, 1)
    movie.move_to_meta(meta)
    choose(meta)
    with _refused("shows no pictures", remedy="unmute a strip"):
        _edit()


def test_an_effect_whose_input_has_lost_its_file(work: Path) -> None:
    _prompt()
    file = work / "gone.mkv"
    file.write_bytes((FOOTAGE / "movie.mkv").read_bytes())
    strips = bpy.context.scene.sequence_editor.strips
    movie = strips.new_movie("gone", str(file), 1, 1)
    span = {"length": 12} if bpy.app.version >= (5, 0) else {"frame_end": 13}
    choose(
        strips.new_effect(
            name="blur", type="GAUSSIAN_BLUR", channel=2, frame_start=1, input1=movie, **span
        )
    )
    file.unlink()
    with _refused('"gone" needs the file', remedy="Put it back"):
        _edit()


def test_several_strips_none_of_which_can_be_edited(work: Path) -> None:
    _prompt()
    _scene_strip()
    other = bpy.context.scene.sequence_editor.strips.new_meta("meta", 5, 1)
    other.select = True
    with _refused("None of the 2 selected strips can be edited", remedy="Add a camera"):
        _edit()


def test_an_empty_prompt(work: Path) -> None:
    _prompt("  ")
    add_movie()
    with _refused("The prompt is empty", remedy="Type what the strip should show"):
        _edit()


def test_a_movie_whose_file_is_gone(work: Path) -> None:
    _prompt()
    file = work / "gone.mkv"
    file.write_bytes((FOOTAGE / "movie.mkv").read_bytes())
    editor = bpy.context.scene.sequence_editor
    choose(editor.strips.new_movie("gone", str(file), 1, 1))
    file.unlink()
    with _refused("is missing", remedy="Put it back"):
        _edit()


def test_a_file_that_is_no_movie(work: Path) -> None:
    _prompt()
    file = work / "broken.mp4"
    file.write_bytes(b"no movie" * 100)
    choose(bpy.context.scene.sequence_editor.strips.new_movie("broken", str(file), 1, 1))
    with _refused("cannot be read as a movie", remedy="convert it"):
        _edit()


def test_an_image_sequence_with_a_gap(work: Path) -> None:
    _prompt()
    for file in sorted((FOOTAGE / "images").glob("*.png"))[:4]:
        (work / file.name).write_bytes(file.read_bytes())
    add_images(folder=work)
    (work / "00002.png").unlink()
    with _refused("00002.png", remedy="Put it back"):
        _edit()


def test_an_unreadable_image(work: Path) -> None:
    _prompt()
    for file in sorted((FOOTAGE / "images").glob("*.png"))[:4]:
        (work / file.name).write_bytes(file.read_bytes())
    add_images(folder=work)
    (work / "00002.png").write_bytes(b"no picture")
    with _refused("could not be rendered", remedy="Check that the strip plays"):
        _edit()


def test_one_frame(work: Path) -> None:
    _prompt()
    for file in sorted((FOOTAGE / "images").glob("*.png"))[:1]:
        (work / file.name).write_bytes(file.read_bytes())
    add_images(folder=work)
    with _refused("only one frame", remedy="make the strip longer"):
        _edit()


def test_an_engine_that_is_not_there(work: Path) -> None:
    _prompt()
    add_movie()
    with _engine(work / "python"), _refused("There is no Python at", remedy="Correct it"):
        _edit()


def test_an_engine_that_does_not_start(work: Path) -> None:
    _prompt()
    add_movie()
    program = work / "python"
    program.write_text("#!/bin/sh\necho it went wrong\nexit 3\n")
    program.chmod(0o755)
    with _engine(program), _refused("The engine did not start", remedy="Install the engine again"):
        _edit()
    edit = room("sequencer.queue_timer").edit_queue().edits[-1]
    assert "it went wrong" in edit.error.details
    assert not Path(edit.request.output).exists()
