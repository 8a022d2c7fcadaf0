"""Edit lists: what is written is read again, what is wrong is said, and the schema is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tokenflow_engine.client.edit_list import EditList, ListedEdit, read_edit_list, unique_names
from tokenflow_engine.client.edit_list_schema import schema
from tokenflow_engine.client.edit_steps import batches, parts
from tokenflow_engine.client.errors import TokenFlowError

PROMPT = "a blue ball on grass"


def entry(**more: Any) -> dict[str, Any]:
    return {"name": "a", "strip": "A", "prompt": PROMPT, **more}


def written(tmp_path: Path, *edits: object, **more: Any) -> Path:
    file = tmp_path / "list.json"
    values = {"format": "tokenflow-edit-list", "version": 1, "edits": list(edits), **more}
    file.write_text(json.dumps(values), encoding="utf-8")
    return file


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    settings = {"prompt": PROMPT, "seed": 3, "size": (64, 96), "guidance_scale": 5.0}
    edits = EditList(
        (
            ListedEdit("a", "A.001", "Scene", "//a.mp4", 24, (2, 20), "", settings, "f00d"),
            ListedEdit("b", "B", preset="Oil Painting"),
        ),
        str(tmp_path / "project" / "shot.blend"),
    )
    edits.write(tmp_path / "lists" / "list.json")
    text = (tmp_path / "lists" / "list.json").read_text()
    assert '"../project/shot.blend"' in text
    assert read_edit_list(tmp_path / "lists" / "list.json") == edits
    request = edits.edits[0].request(tmp_path, tmp_path / "out")
    assert (request.seed, request.size, request.frames) == (3, (64, 96), (2, 20))


@pytest.mark.parametrize(
    ("edits", "more", "said"),
    [
        ([], {}, "holds no edits"),
        ([entry()], {"version": 2}, "version 2"),
        ([entry()], {"format": "else"}, "no edit list"),
        ([entry(name="../a")], {}, "no usable name"),
        ([entry(), entry(name="A")], {}, 'named "A"'),
        ([entry(strip="")], {}, 'In the edit "a": No strip'),
        ([entry(prompt="")], {}, "neither a prompt nor a preset"),
        ([entry(steps=0)], {}, "Steps is 0"),
        ([entry(output="/")], {}, "unknown entry 'output'"),
        ([entry(frames=[0, 9], source={"frame_count": 8})], {}, "beyond the strip's 8 frames"),
        ([entry(source={"frame_count": True})], {}, "frame_count"),
        ([entry(prompt="a purple dragon")], {}, '"dragon"'),
        ([7], {}, "Edit 1 is no object"),
    ],
)
def test_a_wrong_list_is_refused_in_one_sentence_that_names_the_file(
    edits: list[Any], more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(TokenFlowError) as refusal:
        read_edit_list(written(tmp_path, *edits, **more))
    assert said in str(refusal.value)
    assert refusal.value.message.startswith('"list.json": ')
    assert refusal.value.exit_code == 2 and refusal.value.remedy


def test_no_json_and_no_file_are_refused(tmp_path: Path) -> None:
    for content in (None, b"{", b"\xff", b"[" * 100_000):
        file = tmp_path / "list.json"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(TokenFlowError):
            read_edit_list(file)


def test_the_published_schema_is_that_of_the_program(checkout: Path) -> None:
    published = json.loads((checkout / "farm" / "edit_list.schema.json").read_text("utf-8"))
    assert published == schema(), "write it anew: python3 run.py tokenflow farm schema"


def test_names_are_fit_for_folders_and_differ_without_their_capitals() -> None:
    names = unique_names(["clip.001", "Clip.001", "clip 001", "..", "ä" * 100, "con/trol"])
    assert names == ["clip_001", "Clip_001_2", "clip_001_3", "strip", "strip_2", "con_trol"]


def test_batches_start_at_the_range_and_neighbours_of_one_edit_are_joined() -> None:
    settings = {"prompt": PROMPT, "chunk": 4}
    edits = EditList(
        (
            ListedEdit("a", "A", frame_count=10, settings=settings),
            ListedEdit("b", "B", frame_count=20, frames=(3, 9), settings=settings),
        )
    )
    frames = [(batch.edit.name, *batch.frames) for batch in batches(edits.edits)]
    assert frames == [("a", 0, 4), ("a", 4, 8), ("a", 8, 10), ("b", 3, 7), ("b", 7, 9)]
    joined = [(part.edit.name, *part.frames) for part in parts(edits, [1, 2, 3, 4])]
    assert joined == [("a", 4, 10), ("b", 3, 9)]
    apart = [(part.edit.name, *part.frames) for part in parts(edits, [0, 2])]
    assert apart == [("a", 0, 4), ("a", 8, 10)]
    with pytest.raises(TokenFlowError, match="no batch 5"):
        parts(edits, [5])
