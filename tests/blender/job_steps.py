"""The verbs of the command line on a real project, with a real engine and the embedded model."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import bpy
from project import add_images, add_movie, pixels, room

SMALL = ("--steps", "2", "--inversion-steps", "2", "--chunk", "2", "--size", "64x64")
PROMPT = "a blue ball on grass"


def command(*arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON object printed last, and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = room("operators.command_line").main([*map(str, arguments), "--json"])
    lines = out.getvalue().splitlines()
    assert len(err.getvalue().splitlines()) <= 1, err.getvalue()
    return code, json.loads(lines[-1]), err.getvalue()


def saved(work: Path, frames: int = 3) -> Path:
    """A saved project with two strips of a few frames."""
    for strip in (add_images(channel=2, start=11), add_movie(channel=3, start=21)):
        for name in ("right_handle", "frame_final_end"):
            if hasattr(strip, name):
                setattr(strip, name, {"images": 11, "movie": 21}[strip.name] + frames)
                break
    shot = work / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(shot))
    return shot


def frames_in(folder: Path) -> list[bytes]:
    return [pixels(file).tobytes() for file in sorted(folder.glob("*.png"))]


def test_list_says_what_can_be_edited_and_why_not(work: Path) -> None:
    movie = add_movie()
    movie.filepath = str(work / "gone.mkv")
    add_images(channel=2)
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    code, report, _err = command("list")
    assert (code, report["blend"]) == (0, str(work / "shot.blend"))
    missing, images = report["strips"]
    assert (missing["strip"], missing["editable"]) == ("movie", False)
    assert "is missing" in missing["reason"] and missing["remedy"]
    assert (images["editable"], images["frame_count"], images["size"]) == (True, 12, [61, 47])


def test_an_edit_list_gives_the_frames_that_a_single_edit_gives_bit_for_bit(work: Path) -> None:
    shot = saved(work)
    before = shot.read_bytes()
    edit = ("--prompt", PROMPT, "--seed", "5", *SMALL)
    code, single, err = command("edit", "--strip", "images", *edit)
    assert code == 0, err
    bpy.ops.wm.open_mainfile(filepath=single["blend"])
    listed = work / "list.json"
    code, exported, err = command("export", "--output", listed)
    assert code == 0, err
    (entry,) = exported["edits"]
    assert (entry["strip"], entry["prompt"], entry["seed"]) == ("images", PROMPT, 5)
    assert entry["source"]["frame_count"] == 3 and len(entry["model_hash"]) == 32
    bpy.ops.wm.open_mainfile(filepath=str(shot))
    code, report, err = command("edit", "--edit-list", listed)
    assert code == 0, err
    made = frames_in(work / "list_job" / "edited" / "images")
    assert made == frames_in(Path(single["output"])) and len(made) == 3
    assert shot.read_bytes() == before

    # A second run finds everything done, and the copy is as it was.
    copy = Path(report["assembled"]["blend"])
    written = copy.stat().st_mtime_ns
    bpy.ops.wm.open_mainfile(filepath=str(shot))
    code, again, err = command("edit", "--edit-list", listed)
    assert (code, again["made"], again["skipped"]) == (0, 0, 1), err
    assert again["assembled"]["skipped"] and copy.stat().st_mtime_ns == written
    bpy.ops.wm.open_mainfile(filepath=str(copy))
    (placed,) = report["assembled"]["strips"]
    strip = bpy.context.scene.sequence_editor.strips[placed["strip"]]
    assert (strip.tokenflow.prompt, strip.tokenflow.seed) == (PROMPT, 5)
    assert (Path(bpy.path.abspath(strip.directory)) / strip.elements[-1].filename).is_file()


def test_the_steps_apart_skip_what_is_done_and_redo_what_has_changed(work: Path) -> None:
    saved(work)
    job = work / "job"
    listed = job / "edit_list.json"
    new = ("--strip", "images", "--strip", "movie", "--prompt", PROMPT, *SMALL)
    assert command("export", "--output", listed, *new)[0] == 0
    code, _report, err = command("render", "--job", job)
    assert code == 2 and "Run the step extract first" in err
    assert command("assemble", "--job", job)[0] == 2
    assert command("extract", "--job", job)[1]["made"] == 2
    assert command("extract", "--job", job, "--number", "0-1")[1]["skipped"] == 2
    # Three frames in batches of two are two batches for each strip.
    code, report, err = command("invert", "--job", job, "--batches", "1-3")
    assert code == 0, err
    done = [(each["edit"], each["frames"]) for each in report["results"]]
    assert done == [("images", [2, 3]), ("movie", [0, 3])]
    assert command("invert", "--job", job, "--batches", "2-3")[1]["skipped"] == 1
    assert command("render", "--job", job, "--name", "movie")[1]["made"] == 1
    code, _report, err = command("assemble", "--job", job)
    assert code == 2 and "1 of 2 edits are not rendered: images" in err
    assert not list(job.glob("*.blend"))
    assert command("render", "--job", job)[1]["made"] == 1
    code, report, err = command("assemble", "--job", job)
    assert code == 0, err
    assert Path(report["results"][0]["blend"]) == job / "shot_tokenflow.blend"

    # Another prompt is another edit of the same frames.
    changed = listed.read_text().replace(PROMPT, "a green ball on grass", 1)
    listed.write_text(changed)
    assert command("extract", "--job", job)[1]["skipped"] == 2
    assert command("invert", "--job", job, "--batches", "2-3")[1]["skipped"] == 1
    report = command("render", "--job", job)[1]
    assert (report["made"], report["skipped"]) == (1, 1)


def test_a_list_by_hand_takes_a_preset_and_another_model_is_refused(work: Path) -> None:
    saved(work)
    library = room("sequencer.preset_list").preset_library()
    preset = next(s.preset for s in library.presets if s.preset.model == "embedded")
    entry = {"name": "a", "strip": "images", "preset": preset.name, "seed": 7}
    head = {"format": "tokenflow-edit-list", "version": 1}
    given = work / "by_hand.json"
    given.write_text(json.dumps({**head, "edits": [entry]}))
    listed = work / "job" / "edit_list.json"
    code, exported, err = command("export", "--edit-list", given, "--output", listed)
    assert code == 0, err
    (complete,) = exported["edits"]
    assert complete["prompt"] == preset.values["prompt"]
    assert (complete["seed"], complete["source"]["frame_count"]) == (7, 3)
    listed.write_text(listed.read_text().replace(complete["model_hash"], "0" * 32))
    assert command("extract", "--job", work / "job")[0] == 0
    code, _report, err = command("render", "--job", work / "job")
    assert code == 4 and "not the one that the edit list was made with" in err
    given.write_text(json.dumps({**head, "edits": [entry | {"preset": "No Such Look"}]}))
    code, report, err = command("export", "--edit-list", given, "--output", listed)
    assert code == 2 and 'no preset "No Such Look"' in err
    assert report["error"]["code"] == "bad_request"


def test_a_strip_of_another_length_than_listed_is_refused(work: Path) -> None:
    saved(work)
    listed = work / "job" / "edit_list.json"
    command("export", "--output", listed, "--strip", "images", "--prompt", PROMPT)
    strip = bpy.context.scene.sequence_editor.strips["images"]
    for name in ("right_handle", "frame_final_end"):
        if hasattr(strip, name):
            setattr(strip, name, getattr(strip, name) + 1)
            break
    code, _report, err = command("extract", "--job", work / "job")
    assert code == 2 and "has 4 frames, not 3" in err
    assert not (work / "job" / "frames").exists()


def test_the_operator_writes_the_selected_strips(work: Path) -> None:
    saved(work)
    scene = bpy.context.scene
    scene.tokenflow.prompt = PROMPT
    for strip in scene.sequence_editor.strips:
        strip.select = True
    file = work / "edits.json"
    export = bpy.ops.tokenflow.export_edit_list
    assert export(filepath=str(file), which="SELECTED") == {"FINISHED"}
    listed = json.loads(file.read_text())
    assert [(e["strip"], e["prompt"]) for e in listed["edits"]] == [
        ("images", PROMPT),
        ("movie", PROMPT),
    ]
    assert listed["blend"] == "shot.blend" and listed["edits"][0]["model_hash"]
    try:
        export(filepath=str(file), which="MADE")
    except RuntimeError as error:
        assert "There is no edit to export" in str(error)
    else:
        raise AssertionError("a list of nothing was written")
