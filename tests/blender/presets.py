"""Presets: bundled and own ones, applied, saved, searched, exchanged as files."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import addon_utils
import bpy
from project import EXTENSION, room

BUNDLED = Path(__file__).resolve().parents[2] / "presets"
OIL = "bundled:Oil Painting"


def _settings():
    return bpy.context.scene.tokenflow


def _shown():
    return bpy.context.window_manager.tokenflow_presets


def _library():
    return room("sequencer.preset_list").preset_library()


def _own_folder() -> Path:
    return Path(bpy.utils.extension_path_user(EXTENSION, path="presets"))


def _start() -> None:
    """A profile without own presets, the list filled."""
    shutil.rmtree(_own_folder(), ignore_errors=True)
    _library().load()
    _shown().revision = ""
    for name in ("search", "only_favourites", "only_own", "only_suiting", "active"):
        _shown().property_unset(name)
    room("sequencer.preset_list").show_presets(bpy.context)


def _choose(key: str) -> None:
    _shown().active = [row.key for row in _shown().rows].index(key)


def _visible() -> list[str]:
    """Names in the order in which the list shows them."""
    ui_list = room("panels.presets").TOKENFLOW_UL_presets

    stand = SimpleNamespace(bitflag_filter_item=1)
    flags, places = ui_list.filter_items(stand, bpy.context, _shown(), "rows")
    rows = _shown().rows
    order = sorted(range(len(rows)), key=places.__getitem__)
    assert sorted(places) == list(range(len(rows)))
    return [rows[number].name for number in order if flags[number]]


@contextlib.contextmanager
def _refused(*words: str) -> Iterator[None]:
    """An operator in this block fails with these words; presets and their files stay the same."""
    before = _state()
    try:
        yield
    except RuntimeError as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError("nothing was refused")
    assert _state() == before


def _state() -> object:
    folder = _own_folder()
    files = {f.name: f.read_bytes() for f in folder.iterdir()} if folder.exists() else {}
    return files, [row.key for row in _shown().rows], _library().presets


def _save(name: str, **more: object) -> None:
    assert bpy.ops.tokenflow.save_preset(name=name, **more) == {"FINISHED"}


def _write(file: Path, *presets: dict[str, object], **more: object) -> Path:
    content = {"format": "tokenflow-presets", "version": 1, "presets": presets, **more}
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_every_bundled_preset_can_be_used_as_it_is(work: Path) -> None:
    _start()
    assert not _library().problems
    presets = [stored.preset for stored in _library().presets]
    assert len(presets) >= 20
    assert {p.name for p in presets} >= {"Oil Painting", "Watercolour", "Anime", "Golden Hour"}
    assert len({p.name.casefold() for p in presets}) == len(presets)
    assert all(p.description.strip() for p in presets)
    request = room("sequencer.settings").request_template
    for stored in _library().presets:
        assert bpy.ops.tokenflow.apply_preset(preset=stored.key) == {"FINISHED"}
        values = request(_settings()).to_json()
        assert {name: values[name] for name in stored.preset.values} == stored.preset.values
        complete = replace(request(_settings()), source="a", output="b")
        complete.validated(any_words=True)


def test_the_words_of_the_toy_presets_are_those_the_embedded_model_knows(work: Path) -> None:
    _start()
    sys.path.insert(0, str(BUNDLED.parent))
    from tokenflow_engine.client.embedded_words import VOCABULARY

    toys = [s.preset for s in _library().presets if s.preset.model == "embedded"]
    assert len(toys) >= 4
    for preset in toys:
        assert set(preset.values["prompt"].split()) <= VOCABULARY, preset.name
    rows = {row.name: row for row in _shown().rows}
    assert all(rows[preset.name].for_embedded for preset in toys)


def test_applying_replaces_the_fields_of_the_preset_and_no_other(work: Path) -> None:
    _start()
    settings = _settings()
    settings.seed, settings.steps, settings.source_prompt = 7, 33, "a red ball"
    settings.mode, settings.chunk, settings.device = "paper", 4, "cpu"
    settings.model_folder = str(work)
    before = room("sequencer.settings").request_template(settings).to_json()
    _choose(OIL)
    assert bpy.ops.tokenflow.apply_preset() == {"FINISHED"}
    after = room("sequencer.settings").request_template(settings).to_json()
    changed = {name for name in after if after[name] != before[name]}
    assert "prompt" in changed
    assert changed <= set(_library().find(OIL).preset.values)
    assert (settings.seed, settings.steps) == (7, 33)
    assert "oil painting" in settings.prompt


def test_applying_is_undone_in_one_step(work: Path) -> None:
    _start()
    bpy.context.preferences.edit.use_global_undo = True
    _settings().prompt = "mine"
    bpy.ops.ed.undo_push(message="Before")
    bpy.ops.tokenflow.apply_preset("EXEC_DEFAULT", True, preset=OIL)
    assert _settings().prompt != "mine"
    bpy.ops.ed.undo()
    assert _settings().prompt == "mine"


def test_a_saved_preset_brings_back_prompt_editor_and_strengths(work: Path) -> None:
    _start()
    mine = {
        "prompt": "ein blauer Ball, \u201cschön\u201d \u7403",
        "negative_prompt": "rot",
        "editor": "sdedit",
        "steps": 12,
        "guidance_scale": 3.5,
        "pnp_attention": 0.1,
        "pnp_features": 0.2,
        "sdedit_start": 0.6,
    }
    for name, value in mine.items():
        setattr(_settings(), name, value)
    _save("  Schöner Ball / 1?  ", description="for balls")
    assert _shown().rows[_shown().active].key == "own:Schöner Ball / 1?"
    (file,) = _own_folder().iterdir()
    written = json.loads(file.read_text("utf-8"))["presets"][0]
    assert written["values"] == mine
    assert (written["description"], written["model"]) == ("for balls", "embedded")
    bpy.ops.tokenflow.apply_preset(preset=OIL)
    # As after a restart of Blender.
    addon_utils.disable(EXTENSION)
    addon_utils.enable(EXTENSION)
    room("sequencer.preset_list").show_presets(bpy.context)
    bpy.ops.tokenflow.apply_preset(preset="own:Schöner Ball / 1?")
    kept = room("sequencer.settings").request_template(_settings()).to_json()
    assert {name: kept[name] for name in mine} == mine


def test_names_that_look_alike_on_the_disk_do_not_overwrite_one_another(work: Path) -> None:
    _start()
    _settings().prompt = "one"
    _save("a b")
    _settings().prompt = "two"
    _save("a_b")
    _save("???")
    _save("favourites")
    bpy.ops.tokenflow.favourite_preset(preset="own:favourites")
    _library().load()
    own = {s.preset.name: s.preset.values["prompt"] for s in _library().presets if s.own}
    assert own == {"a b": "one", "a_b": "two", "???": "two", "favourites": "two"}


def test_a_name_that_is_taken_is_refused_until_replace_is_ticked(work: Path) -> None:
    _start()
    _settings().prompt = "one"
    _save("Mine")
    _settings().prompt = "two"
    with _refused('There is a preset "Mine" already.', "tick Replace"):
        bpy.ops.tokenflow.save_preset(name="mine")
    with _refused('"Oil Painting" comes with the add-on.', "another name"):
        bpy.ops.tokenflow.save_preset(name="oil painting", replace=True)
    with _refused("needs a name"):
        bpy.ops.tokenflow.save_preset(name="  ")
    with _refused("will not do", "64"):
        bpy.ops.tokenflow.save_preset(name="x" * 65)
    _save("mine", replace=True)
    (stored,) = [s for s in _library().presets if s.own]
    assert (stored.preset.name, stored.preset.values["prompt"]) == ("mine", "two")
    _settings().prompt = " "
    with _refused("prompt is empty"):
        bpy.ops.tokenflow.save_preset(name="another")


def test_own_presets_can_be_deleted_and_bundled_ones_not(work: Path) -> None:
    _start()
    _settings().prompt = "one"
    _save("Mine")
    bpy.ops.tokenflow.favourite_preset(preset="own:Mine")
    _choose("own:Mine")
    assert bpy.ops.tokenflow.delete_preset() == {"FINISHED"}
    assert _library().find("own:Mine") is None
    assert not _library().favourites
    assert [f.name for f in _own_folder().iterdir()] == ["favourites.json"]
    _choose(OIL)
    with _refused("comes with the add-on"):
        bpy.ops.tokenflow.delete_preset()
    before = {f.name: f.read_bytes() for f in BUNDLED.iterdir()}
    _settings().prompt = "one"
    _save("Mine")
    with _refused("comes with the add-on"):
        bpy.ops.tokenflow.delete_preset(preset=OIL)
    assert {f.name: f.read_bytes() for f in BUNDLED.iterdir()} == before
    with _refused('no preset "own:gone"'):
        bpy.ops.tokenflow.delete_preset(preset="own:gone")


def test_favourites_stand_first_then_own_ones_and_stay_after_a_restart(work: Path) -> None:
    _start()
    _settings().prompt = "one"
    _save("Zebra")
    assert _visible()[0] == "Zebra"
    bpy.ops.tokenflow.favourite_preset(preset="bundled:Watercolour")
    assert _visible()[:2] == ["Watercolour", "Zebra"]
    _library().load()
    assert _library().favourites == {"bundled:Watercolour"}
    _shown().only_favourites = True
    assert _visible() == ["Watercolour"]
    bpy.ops.tokenflow.favourite_preset(preset="bundled:Watercolour")
    assert _visible() == []


def test_presets_for_the_model_at_hand_stand_before_the_others(work: Path) -> None:
    _start()
    assert _visible()[0].startswith("Toy World")
    assert _shown().rows[_shown().active].name == _visible()[0]
    toys = [name for name in _visible() if name.startswith("Toy World")]
    assert _visible().index(toys[-1]) < _visible().index("Anime")
    _settings().model_folder = str(work)
    assert _visible().index("Anime") < _visible().index(toys[0])
    _shown().only_suiting = True
    assert "Anime" in _visible() and "Free Repaint" in _visible()
    assert not set(_visible()) & set(toys)
    _shown().only_own = True
    assert _visible() == []


def test_the_search_finds_words_in_name_prompt_and_description(work: Path) -> None:
    _start()
    for search, found in (
        ("oil", "Oil Painting"),
        ("CANVAS brush", "Oil Painting"),
        ("cel shading", "Anime"),
        ("swirling", "Van Gogh"),
    ):
        _shown().search = search
        assert found in _visible(), search
        assert len(_visible()) < 6
    _shown().search = "no such words"
    assert _visible() == []


def test_exported_presets_can_be_imported_by_another_user(work: Path) -> None:
    _start()
    for name in ("One", "Two"):
        _settings().prompt = name
        _save(name)
    one, own = work / "one.json", work / "own.json"
    _choose("own:One")
    assert bpy.ops.tokenflow.export_presets(filepath=str(one)) == {"FINISHED"}
    assert bpy.ops.tokenflow.export_presets(filepath=str(own), which="OWN") == {"FINISHED"}
    assert [p["name"] for p in json.loads(one.read_text("utf-8"))["presets"]] == ["One"]
    presets = [s.preset for s in _library().presets if s.own]
    _start()
    with _refused("nothing to export"):
        bpy.ops.tokenflow.export_presets(filepath=str(work / "none.json"), which="OWN")
    assert bpy.ops.tokenflow.import_presets(filepath=str(own)) == {"FINISHED"}
    assert [s.preset for s in _library().presets if s.own] == presets
    # Once more: they are here already.
    assert bpy.ops.tokenflow.import_presets(filepath=str(own)) == {"FINISHED"}
    assert len([s for s in _library().presets if s.own]) == 2


def test_an_imported_preset_of_a_taken_name_gets_a_number(work: Path) -> None:
    _start()
    _settings().prompt = "one"
    _save("Mine")
    file = _write(
        work / "a.json",
        {"name": "Mine", "values": {"prompt": "another"}},
        {"name": "Oil Painting", "values": {"prompt": "another"}},
        {"name": "mine", "values": {"prompt": "a third"}},
    )
    assert bpy.ops.tokenflow.import_presets(filepath=str(file)) == {"FINISHED"}
    own = {s.preset.name: s.preset.values["prompt"] for s in _library().presets if s.own}
    assert own == {
        "Mine": "one",
        "Mine 2": "another",
        "Oil Painting 2": "another",
        "mine 3": "a third",
    }
    assert _shown().rows[_shown().active].name == "Mine 2"


def test_a_bad_file_is_refused_in_one_sentence(work: Path) -> None:
    _start()
    good = {"name": "Good", "values": {"prompt": "x"}}

    def bad(said: str, content: str | bytes | dict[str, object]) -> None:
        file = work / "bad.json"
        if isinstance(content, dict):
            _write(file, good, {"name": "Bad", "values": {"prompt": "x"}, **content})
        else:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with _refused('"bad.json"', said):
            bpy.ops.tokenflow.import_presets(filepath=str(file))

    bad("is not JSON", "import os; os.system('x')")
    bad("is not JSON", b"\xff\xfe\x00")
    bad("is not JSON", "[" * 100000)
    bad("holds no presets", "[]")
    bad("holds no presets", '{"prompt": "x"}')
    bad("too large", b" " * 2**21)
    head = '{"format": "tokenflow-presets", "presets": [{"name": "a", "values": {"prompt": "x"}}]'
    bad("does not say its version", head + "}")
    bad("newer TokenFlow Edit", head + ', "version": 2}')
    bad("has no name", {"name": 3})
    bad("no usable name", {"name": "two\nlines"})
    bad("the description is no text", {"description": ["x"]})
    bad('the model is not "embedded"', {"model": "/somewhere"})
    bad("unknown entry 'script'", {"script": "print()"})
    bad("there are no values", {"values": {}})
    bad("unknown value 'output'", {"values": {"output": "/somewhere"}})
    bad("the editor is 'magic'", {"values": {"editor": "magic"}})
    bad("the editor is", {"values": {"editor": ["pnp"]}})
    bad("the steps is 0", {"values": {"steps": 0}})
    bad("the steps is 2.5", {"values": {"steps": 2.5}})
    bad("the steps is True", {"values": {"steps": True}})
    bad("the guidance scale is nan", {"values": {"guidance_scale": float("nan")}})
    bad("the pnp attention is '1'", {"values": {"pnp_attention": "1"}})
    bad("the prompt is no text", {"values": {"prompt": "x" * 2001}})
    with _refused("cannot be read"):
        bpy.ops.tokenflow.import_presets(filepath=str(work / "missing.json"))
    with _refused("cannot be read"):
        bpy.ops.tokenflow.import_presets(filepath=str(work))


def test_a_broken_own_file_is_named_and_hides_no_other(work: Path) -> None:
    _start()
    _settings().prompt = "one"
    _save("Mine")
    (_own_folder() / "broken.json").write_text("{", encoding="utf-8")
    (_own_folder() / "favourites.json").write_text("{", encoding="utf-8")
    _library().load()
    assert _library().find("own:Mine") is not None
    (problem,) = _library().problems
    assert '"broken.json" is not JSON.' in problem


def test_a_disk_that_refuses_leaves_everything_as_it_was(work: Path) -> None:
    _start()
    _settings().prompt = "one"
    # A file where the folder would be: nothing can be written, also by a superuser.
    _own_folder().parent.mkdir(parents=True, exist_ok=True)
    _own_folder().write_text("in the way")
    try:
        for act in (
            lambda: bpy.ops.tokenflow.save_preset(name="Mine"),
            lambda: bpy.ops.tokenflow.favourite_preset(preset=OIL),
            lambda: bpy.ops.tokenflow.export_presets(filepath=str(work / "no" / "a.json")),
        ):
            _fails(act, "Check that there is space")
        assert not [s for s in _library().presets if s.own]
        assert not _library().favourites
    finally:
        _own_folder().unlink()


def _fails(act: Callable[[], object], saying: str) -> None:
    try:
        act()
    except RuntimeError as error:
        assert saying in str(error), error
    else:
        raise AssertionError("nothing was refused")


def test_drawing_opens_no_file(work: Path) -> None:
    """The panel draws out of memory, whatever becomes of the folder meanwhile."""
    _start()
    panels = room("panels.presets")
    opened: list[object] = []
    listening = True

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event in ("open", "os.listdir", "os.scandir", "os.mkdir", "glob.glob"):
            opened.append(arguments)

    sys.addaudithook(listen)
    try:
        for _turn in range(2):
            panels.TOKENFLOW_PT_presets.draw(_Drawn(), _InSidebar())
        assert _visible()
    finally:
        listening = False
    assert not opened, opened
    assert not bpy.app.timers.is_registered(room("sequencer.preset_list")._show)


def test_a_stale_list_is_filled_by_a_timer_not_by_the_draw(work: Path) -> None:
    # As after the start of Blender: nothing was read yet.
    addon_utils.disable(EXTENSION)
    addon_utils.enable(EXTENSION)
    names = room("sequencer.preset_list")
    assert not _shown().rows
    drawn = _Drawn()
    room("panels.presets").TOKENFLOW_PT_presets.draw(drawn, _InSidebar())
    assert "Reading the presets..." in drawn.layout.said
    assert not _shown().rows
    assert bpy.app.timers.is_registered(names._show)
    bpy.app.timers.unregister(names._show)
    names._show()
    assert len(_shown().rows) == len(_library().presets)


class _Layout:
    """Takes what a panel draws: without a window there is no layout of Blender's."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        def draw(*arguments: object, text: str = "", **named: object) -> object:
            self.said.append(text)
            if name in ("row", "column", "box"):
                return self
            return SimpleNamespace()

        return draw


class _InSidebar:
    """The context that a panel is drawn in."""

    region = SimpleNamespace(width=300)
    preferences = SimpleNamespace(system=SimpleNamespace(ui_scale=1.0))

    def __getattr__(self, name: str) -> object:
        return getattr(bpy.context, name)


class _Drawn:
    def __init__(self) -> None:
        self.layout = _Layout()
