"""An edit.json that is dropped in or chosen, and the words of the demonstration model."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
from project import add_images, choose, room


def _settings():
    return bpy.context.scene.tokenflow


def _write(work: Path, **changes: object) -> Path:
    request = room("tokenflow_engine.client.edit_request").EditRequest(
        source="/somewhere/else", output="/another/machine", prompt="a gold ball"
    )
    file = work / "edit.json"
    file.write_text(json.dumps({"format": 1, "request": {**request.to_json(), **changes}}))
    return file


def _open(file: Path, **how: object) -> set[str]:
    return bpy.ops.tokenflow.open_edit_file(filepath=str(file), **how)


def test_its_settings_are_filled_in(work: Path) -> None:
    file = _write(work, seed=77, editor="sdedit", sdedit_start=0.7, size=[128, 96], steps=12)
    assert _open(file) == {"FINISHED"}
    settings = _settings()
    assert (settings.prompt, settings.seed, settings.editor) == ("a gold ball", 77, "sdedit")
    assert (settings.use_size, tuple(settings.size), settings.steps) == (True, (128, 96), 12)
    assert abs(settings.sdedit_start - 0.7) < 1e-6
    assert settings.model_folder == ""


def test_what_a_newer_add_on_wrote_besides_is_left_out(work: Path) -> None:
    assert _open(_write(work, seed=5, something_new=True)) == {"FINISHED"}
    assert _settings().seed == 5


def test_a_file_that_is_no_edit_says_so_and_changes_nothing(work: Path) -> None:
    _settings().prompt = "mine"
    contents = {
        "no.json": "{",
        "list.json": "[]",
        "presets.json": '{"format": "tokenflow-presets", "version": 1, "presets": []}',
        "steps.json": _write(work, steps=0).read_text(),
        "text.json": _write(work, steps="many").read_text(),
        "empty.json": _write(work, prompt=" ").read_text(),
        "unknown.json": _write(work, prompt="a dragon").read_text(),
    }
    for name, content in contents.items():
        (work / name).write_text(content)
        try:
            _open(work / name)
        except RuntimeError as error:
            assert name in str(error), (name, error)
        else:
            raise AssertionError(f"{name} was taken")
        assert _settings().prompt == "mine", name
    try:
        _open(work / "missing.json")
    except RuntimeError as error:
        assert "cannot be read" in str(error)
    else:
        raise AssertionError("nothing was raised")


def test_the_strip_that_it_was_made_from_is_selected(work: Path) -> None:
    source = add_images()
    made = bpy.context.scene.sequence_editor.strips.new_image("made", source.directory, 3, 1)
    made.tokenflow.source_uid = room("sequencer.strip_identity").strip_uid(source)
    made.tokenflow.folder = str(work)
    other = choose(add_images(channel=5))
    assert _open(_write(work)) == {"FINISHED"}
    editor = bpy.context.scene.sequence_editor
    assert editor.active_strip.name == source.name
    assert not editor.strips[other.name].select


def test_dropping_a_json_file_is_offered_in_the_sequencer_only(work: Path) -> None:
    handlers = [c for c in bpy.types.FileHandler.__subclasses__() if "TOKENFLOW" in c.__name__]
    (handler,) = handlers
    assert handler.bl_import_operator == "tokenflow.open_edit_file"
    assert handler.bl_file_extensions == ".json"

    class Area:
        type = "SEQUENCE_EDITOR"

    class Context:
        area = Area()

    assert handler.poll_drop(Context())
    Area.type = "VIEW_3D"
    assert not handler.poll_drop(Context())


def test_words_are_put_at_the_end_of_the_prompt(work: Path) -> None:
    for word in ("a", "gold", "ball", "on sand", "at sunset"):
        assert bpy.ops.tokenflow.insert_word(word=word) == {"FINISHED"}
    assert _settings().prompt == "a gold ball on sand at sunset"


def test_every_word_of_the_menus_is_known_to_the_model(work: Path) -> None:
    offered: list[str] = []

    class Button:
        def __setattr__(self, name: str, value: str) -> None:
            offered.append(value)

    class Layout:
        def operator(self, *arguments: object, **named: object) -> Button:
            return Button()

    for menu in room("panels.vocabulary").classes:

        class Drawn:
            layout = Layout()

        menu.draw(Drawn(), bpy.context)
    words = room("tokenflow_engine.client.embedded_words")
    assert len(offered) == len(words.LOOKS) + len(words.SHAPES) + len(words.GROUNDS) + 4
    assert words.unknown_words(" ".join(offered)) == []
