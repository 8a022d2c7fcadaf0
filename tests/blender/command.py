"""The command line's refusals: one sentence on stderr and a code, no edit, no copy."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import bpy
from project import add_images, add_movie, room


def _refusal(*arguments: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = room("operators.command_line").main(list(arguments))
    assert len(err.getvalue().splitlines()) <= 1, err.getvalue()
    return code, err.getvalue()


def _saved(work: Path) -> Path:
    add_images()
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    return work / "shot_tokenflow.blend"


def test_an_unknown_strip_is_refused_with_the_names_there_are(work: Path) -> None:
    copy = _saved(work)
    code, said = _refusal("edit", "--strip", "nothing", "--prompt", "a ball")
    assert code == 2
    assert 'no strip named "nothing"' in said
    assert "images" in said
    assert not copy.exists()


def test_an_empty_prompt_is_refused(work: Path) -> None:
    copy = _saved(work)
    code, said = _refusal("edit", "--strip", "images")
    assert code == 2
    assert "The prompt is empty" in said
    assert not copy.exists()


def test_a_value_out_of_bounds_is_refused(work: Path) -> None:
    _saved(work)
    code, said = _refusal("edit", "--strip", "images", "--prompt", "a", "--steps", "0")
    assert code == 2
    assert "Steps is 0" in said


def test_an_odd_size_is_refused_with_one_that_fits(work: Path) -> None:
    _saved(work)
    code, said = _refusal("edit", "--strip", "images", "--prompt", "a", "--size", "100x100")
    assert code == 2
    assert "Use 96x96" in said


def test_wrong_arguments_are_refused(work: Path) -> None:
    for arguments in (
        [],
        ["fly"],
        ["edit"],
        ["edit", "--strip", "a", "--editor", "none"],
        ["edit", "--strip", "a", "--size", "big"],
        ["edit", "--strip", "a", "--nonsense"],
    ):
        code, said = _refusal(*arguments)
        assert code == 2, arguments
        assert said.strip(), arguments


def test_help_is_no_failure(work: Path) -> None:
    assert _refusal("edit", "--help") == (0, "")


def test_an_unsaved_project_needs_a_name_for_the_copy(work: Path) -> None:
    add_images()
    code, said = _refusal("edit", "--strip", "images", "--prompt", "a ball")
    assert code == 2
    assert "--output-blend" in said


def test_a_missing_file_has_a_code_of_its_own(work: Path) -> None:
    movie = add_movie()
    movie.filepath = str(work / "gone.mkv")
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    code, said = _refusal("edit", "--strip", "movie", "--prompt", "a ball")
    assert code == 3
    assert "is missing" in said


def test_a_strip_of_another_scene_is_found(work: Path) -> None:
    _saved(work)
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    found_scene, found = room("sequencer.source_strip").named_strip(bpy.context, "images")
    assert (found_scene.name, found.name) == ("Scene", "images")
