"""The operator and the command line with a real engine and the embedded model, small and short."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import time
import wave
from pathlib import Path

import bpy
from project import add_images, add_movie, choose, new_project, pixels, room

SMALL = {"steps": 2, "inversion_steps": 2, "chunk": 4, "use_size": True, "size": (64, 64)}


def _set_up(work: Path, frames: int = 4) -> bpy.types.Strip:
    """A saved project with a short strip selected and the settings for a short edit."""
    strip = add_images(channel=2, start=11)
    if hasattr(strip, "right_handle"):
        strip.right_handle = 11 + frames
    else:
        strip.frame_final_end = 11 + frames
    settings = bpy.context.scene.tokenflow
    settings.prompt = "a blue ball on grass"
    for name, value in SMALL.items():
        setattr(settings, name, value)
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    return bpy.context.scene.sequence_editor.strips["images"]


def _queue():
    return room("sequencer.queue_timer").edit_queue()


def _start(**more: object):
    scene = bpy.context.scene
    template = room("sequencer.settings").request_template(scene.tokenflow)
    strip = scene.sequence_editor.active_strip
    return _queue().start(scene, strip, template, here=True, **more)


def _works(edit) -> bool:
    """Whether the engine is past loading; what it does first depends on its cache."""
    loads = edit.progress is None or edit.progress.phase == "prepare"
    return edit.stage.name == "ENGINE" and not loads


def _poll_until(condition, seconds: float = 120) -> None:
    """seconds: after which it fails if nothing has changed meanwhile; a busy machine is slow."""
    deadline = time.monotonic() + seconds
    while not condition():
        now = [(edit.stage.name, edit.progress, edit.error) for edit in _queue().edits]
        assert time.monotonic() < deadline, f"nothing happens any more: {now}"
        if _queue().poll():
            deadline = time.monotonic() + seconds
        time.sleep(0.01)


def test_the_operator_waits_and_leaves_the_edited_strip(work: Path) -> None:
    _set_up(work)
    assert bpy.ops.tokenflow.edit_strip() == {"FINISHED"}
    result = bpy.context.scene.sequence_editor.strips["images TokenFlow"]
    assert result.channel == 3
    names = room("sequencer.compatibility")
    assert (names.left_handle(result), names.right_handle(result)) == (11, 15)
    folder = work / "shot_tokenflow" / "images_1"
    assert sorted(f.name for f in folder.glob("*.png")) == [f"{n:05d}.png" for n in range(4)]
    assert pixels(folder / "00000.png").shape == (64, 64, 3)
    made = json.loads((folder / "edit.json").read_text())
    assert "a blue ball on grass" in json.dumps(made)


def test_camera_footage_is_edited_from_its_trimmed_strip_in_its_own_framing(work: Path) -> None:
    _set_up(work)
    names = room("sequencer.compatibility")
    strips = bpy.context.scene.sequence_editor.strips
    movie = strips.new_movie("bikes", os.environ["TOKENFLOW_TEST_CAMERA"], 5, 1, fit_method="FIT")
    for name, value in (("right_handle", 4), ("frame_final_end", 4)):
        if hasattr(movie, name):
            setattr(movie, name, value)
            break
    choose(movie)
    settings = bpy.context.scene.tokenflow
    settings.size = (96, 64)
    assert bpy.ops.tokenflow.edit_strip() == {"FINISHED"}
    result = strips["bikes TokenFlow"]
    assert (names.left_handle(result), names.right_handle(result), result.channel) == (1, 4, 6)
    folder = work / "shot_tokenflow" / "bikes_1"
    # The source's 272 lines, cut to the shape of 96 x 64.
    assert pixels(folder / "00002.png").shape == (272, 408, 3)
    made = json.loads((folder / "edit.json").read_text())
    assert made["source"]["size"] == [movie.elements[0].orig_width, movie.elements[0].orig_height]


def test_a_second_edit_of_a_strip_goes_above_the_first(work: Path) -> None:
    _set_up(work, frames=2)
    assert bpy.ops.tokenflow.edit_strip() == {"FINISHED"}
    assert bpy.ops.tokenflow.edit_strip() == {"FINISHED"}
    strips = bpy.context.scene.sequence_editor.strips
    assert sorted(strip.channel for strip in strips) == [2, 3, 4]
    assert (work / "shot_tokenflow" / "images_2" / "00001.png").is_file()


def test_a_strip_deleted_meanwhile_is_said_and_the_frames_are_named(work: Path) -> None:
    strip = _set_up(work, frames=2)
    edit = _start()
    bpy.context.scene.sequence_editor.strips.remove(strip)
    _poll_until(lambda: edit.stage.finished)
    assert edit.stage.name == "UNPLACED"
    assert "is gone" in edit.error.message
    assert edit.result.output in edit.error.remedy
    assert (Path(edit.result.output) / "00001.png").is_file()
    assert not bpy.context.scene.sequence_editor.strips


def test_a_strip_renamed_moved_and_in_a_renamed_scene_is_found(work: Path) -> None:
    strip = _set_up(work, frames=2)
    edit = _start()
    _poll_until(lambda: edit.stage.name != "READING")
    strip.name = "another name"
    strip.channel = 7
    bpy.context.scene.name = "Another scene"
    _poll_until(lambda: edit.stage.finished)
    assert edit.error is None
    assert bpy.context.scene.sequence_editor.strips[edit.result_name].channel == 8


def test_a_mark_taken_off_by_undo_does_not_lose_the_strip(work: Path) -> None:
    strip = _set_up(work, frames=2)
    edit = _start()
    strip.tokenflow.property_unset("uid")
    _poll_until(lambda: edit.stage.finished)
    assert edit.error is None
    assert strip.tokenflow.uid == edit.uid
    assert edit.result_name in bpy.context.scene.sequence_editor.strips


def test_another_file_opened_meanwhile_gets_no_strip(work: Path) -> None:
    _set_up(work, frames=2)
    edit = _start()
    _poll_until(lambda: edit.stage.name != "READING")
    new_project()
    add_images()
    _poll_until(lambda: edit.stage.finished)
    assert "which is not open" in edit.error.message, edit.error.message
    assert len(bpy.context.scene.sequence_editor.strips) == 1


def test_the_same_file_opened_again_gets_its_strip(work: Path) -> None:
    _set_up(work, frames=2)
    edit = _start()
    _poll_until(lambda: edit.stage.name != "READING")
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(work / "shot.blend"))
    _poll_until(lambda: edit.stage.finished)
    assert edit.error is None
    assert edit.result_name in bpy.context.scene.sequence_editor.strips


def test_a_cancelled_edit_leaves_nothing_behind(work: Path) -> None:
    strip = _set_up(work)
    bpy.context.scene.tokenflow.steps = 500
    edit = _start()
    _poll_until(lambda: _works(edit))
    _queue().cancel(edit)
    _poll_until(lambda: edit.stage.finished)
    assert edit.stage.name == "CANCELLED"
    _poll_until(lambda: not (work / "shot_tokenflow").exists(), seconds=10)
    assert list(bpy.context.scene.sequence_editor.strips) == [strip]


def test_a_cancel_ends_at_the_running_call_and_a_retry_skips_the_finished_phases(
    work: Path,
) -> None:
    _set_up(work)
    bpy.context.scene.tokenflow.steps = 30
    edit = _start()
    _poll_until(lambda: edit.progress is not None and edit.progress.phase == "edit")
    _poll_until(lambda: edit.progress.done > 0)
    calls, now = [], time.monotonic()
    last = edit.progress
    while len(calls) < 4:
        _queue().poll()
        if edit.progress != last:
            calls.append(time.monotonic() - now)
            last, now = edit.progress, time.monotonic()
    cancelled_at = time.monotonic()
    _queue().cancel(edit)
    assert edit.cancel_requested
    seen = set()

    def ended() -> bool:
        seen.add(edit.progress)
        return edit.stage.finished

    _poll_until(ended)
    waited = time.monotonic() - cancelled_at
    print(f"calls of {1000 * max(calls):.0f} ms at most; idle after {1000 * waited:.0f} ms")
    # What was on its way when it was cancelled, and the end of the call that ran.
    assert len(seen) <= 4, seen
    _queue().retry(edit)
    phases = set()

    def works_again() -> bool:
        if edit.stage.name == "ENGINE" and edit.progress is not None and edit.progress.done:
            phases.add(edit.progress.phase)
        return "edit" in phases

    _poll_until(lambda: works_again() or edit.stage.finished)
    assert edit.error is None, edit.error
    assert not phases & {"invert", "correspond"}, phases
    _queue().cancel(edit)


def test_a_strip_trimmed_while_its_edit_runs_gets_the_frames_that_were_edited(work: Path) -> None:
    strip = _set_up(work)
    names = room("sequencer.compatibility")
    edit = _start()
    _poll_until(lambda: edit.stage.name == "ENGINE")
    if hasattr(strip, "left_handle"):
        strip.left_handle = 13
    else:
        strip.frame_final_start = 13
    _poll_until(lambda: edit.stage.finished)
    assert edit.error is None, edit.error
    result = bpy.context.scene.sequence_editor.strips[edit.result_name]
    assert (names.left_handle(result), names.right_handle(result)) == (11, 15)


def test_two_edits_wait_in_line_and_both_arrive(work: Path) -> None:
    _set_up(work, frames=2)
    first = _start()
    second_source = add_movie(channel=5, start=1)
    if hasattr(second_source, "right_handle"):
        second_source.right_handle = 3
    else:
        second_source.frame_final_end = 3
    choose(second_source)
    second = _start()
    assert first.request.output != second.request.output
    _poll_until(lambda: first.stage.finished and second.stage.finished)
    strips = bpy.context.scene.sequence_editor.strips
    assert (strips[first.result_name].channel, strips[second.result_name].channel) == (3, 6)


def test_the_same_edit_is_not_queued_twice_but_another_prompt_is(work: Path) -> None:
    strip = _set_up(work, frames=2)
    edit = _start()
    assert not bpy.ops.tokenflow.edit_strip.poll()
    try:
        _start()
    except Exception as error:
        assert "in the queue already" in str(error)
    else:
        raise AssertionError("the same edit was queued twice")
    bpy.context.scene.tokenflow.prompt = "a green ball on grass"
    assert bpy.ops.tokenflow.edit_strip.poll()
    other = _start()
    assert other.id != edit.id
    assert _queue().edits_of(strip) == [edit, other]
    for each in (edit, other):
        _queue().cancel(each)
    _poll_until(lambda: edit.stage.finished and other.stage.finished)
    assert bpy.ops.tokenflow.edit_strip.poll()


def test_several_selected_strips_become_an_edit_each(work: Path) -> None:
    _set_up(work, frames=2)
    sound = work / "silence.wav"
    with wave.open(str(sound), "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(16000))
    strips = bpy.context.scene.sequence_editor.strips
    strips.new_sound("sound", str(sound), 7, 11)
    movie = add_movie(channel=5, start=1)
    if hasattr(movie, "right_handle"):
        movie.right_handle = 3
    else:
        movie.frame_final_end = 3
    for strip in strips:
        strip.select = True
    assert bpy.ops.tokenflow.edit_strip() == {"FINISHED"}
    strips = bpy.context.scene.sequence_editor.strips
    assert {s.name: s.channel for s in strips if s.type == "IMAGE" and "TokenFlow" in s.name} == {
        "images TokenFlow": 3,
        "movie TokenFlow": 6,
    }


def test_an_engine_killed_midway_is_said_and_the_next_edit_starts_another(work: Path) -> None:
    _set_up(work, frames=2)
    bpy.context.scene.tokenflow.steps = 500
    edit = _start()
    _poll_until(lambda: _works(edit))
    os.kill(_queue().engine.pid, signal.SIGKILL)
    _poll_until(lambda: edit.stage.finished)
    assert edit.error.code == "engine_lost"
    assert edit.error.remedy
    assert not (work / "shot_tokenflow" / "images_1").exists()
    bpy.context.scene.tokenflow.steps = 2
    assert bpy.ops.tokenflow.edit_strip() == {"FINISHED"}
    assert [f.name for f in (work / "shot_tokenflow").iterdir()] == ["images_1"]


def _command(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = room("operators.command_line").main(["edit", *arguments])
    return code, out.getvalue(), err.getvalue()


def test_the_command_edits_a_copy_and_reports_it_as_json(work: Path) -> None:
    _set_up(work, frames=3)
    before = (work / "shot.blend").read_bytes()
    code, out, err = _command(
        *("--strip", "images", "--prompt", "a green ball", "--seed", "5", "--json")
    )
    assert (code, err) == (0, "")
    assert (work / "shot.blend").read_bytes() == before
    report = json.loads(out.splitlines()[-1])
    assert re.search(r"tokenflow: \w+ \d+/\d+", out)
    assert report["blend"] == str(work / "shot_tokenflow.blend")
    assert (report["frame_count"], report["channel"], report["frame_start"]) == (3, 3, 11)
    bpy.ops.wm.open_mainfile(filepath=report["blend"])
    strip = bpy.context.scene.sequence_editor.strips[report["strip"]]
    assert (strip.tokenflow.prompt, strip.tokenflow.seed) == ("a green ball", 5)
    assert (Path(bpy.path.abspath(strip.directory)) / strip.elements[-1].filename).is_file()


def test_the_command_edits_a_range_of_the_strip_into_named_places(work: Path) -> None:
    _set_up(work, frames=4)
    code, out, _err = _command(
        *("--strip", "images", "--frames", "1:3", "--json"),
        *("--output", str(work / "frames"), "--output-blend", str(work / "copies" / "a.blend")),
    )
    assert code == 0
    report = json.loads(out.splitlines()[-1])
    assert (report["frame_start"], report["frame_count"]) == (12, 2)
    assert sorted(f.name for f in (work / "frames").glob("*.png")) == ["00000.png", "00001.png"]
    assert (work / "copies" / "a.blend").is_file()


def test_the_command_never_replaces_a_blend_it_was_not_told_to(work: Path) -> None:
    _set_up(work, frames=2)
    (work / "shot_tokenflow.blend").write_bytes(b"somebody's work")
    code, _out, err = _command("--strip", "images")
    assert code == 0, err
    assert (work / "shot_tokenflow.blend").read_bytes() == b"somebody's work"
    assert (work / "shot_tokenflow_2.blend").is_file()
    code, _out, err = _command(
        *("--strip", "images"), *("--output-blend", str(work / "shot.blend"))
    )
    assert code == 2
    assert "would replace the .blend that is open" in err
