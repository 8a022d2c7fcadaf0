"""Every text of our panels is there in German, French and Japanese, and Blender shows it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import bpy
from project import EXTENSION, room
from wording import _classes, _operators, _owners_with_properties

TEXTS_OF_CALLS = {"text", "placeholder", "heading", "title", "confirm_text"}
NAMES_IN_ALL_LANGUAGES = {
    *("TokenFlow Edit", "TokenFlow", "Plug-and-Play", "SDEdit", "CPU", "CUDA", "Metal", "JSON"),
    *("Float32", "Float16", "Bfloat16", "Float64", "PNG", "EXR", "OpenEXR"),
}
"""Deliberately not translated: proper names and number formats."""

HAS_LETTERS = re.compile(r"[^\W\d_]")


def _of_blender() -> Iterator[str]:
    """What Blender shows of what is registered: names, tooltips, choices, titles."""
    for struct in _operators():
        yield from (struct.name, struct.description)
    for _owner, found in _owners_with_properties():
        yield from (found.name, found.description)
        for item in getattr(found, "enum_items", ()):
            yield from (item.name, item.description)
    for kind in (bpy.types.Panel, bpy.types.Menu):
        for cls in _classes(kind):
            yield cls.bl_label


def _in_source() -> Iterator[str]:
    """Literal texts in the calls that draw panels and dialogs."""
    folders = [Path(room(name).__file__).parent for name in ("panels", "operators")]
    for file in (file for folder in folders for file in sorted(folder.glob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or _is_shown_as_it_is(node):
                continue
            for keyword in node.keywords:
                if keyword.arg in TEXTS_OF_CALLS:
                    yield from _literals(keyword.value)
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name == "draw_wrapped" and len(node.args) > 2:
                yield from _literals(node.args[2])
            elif name in ("pgettext_iface", "pgettext_rpt", "pgettext_tip") and node.args:
                yield from _literals(node.args[0])


def _is_shown_as_it_is(call: ast.Call) -> bool:
    return any(keyword.arg == "translate" for keyword in call.keywords)


def _literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)


def shown_texts() -> list[str]:
    texts = dict.fromkeys((*_of_blender(), *_in_source()))
    return [t for t in texts if HAS_LETTERS.search(t) and t not in NAMES_IN_ALL_LANGUAGES]


def test_every_text_is_translated_into_each_language(work: Path) -> None:
    languages = room("panels.translations").LANGUAGES
    assert set(languages) == {"de", "fr", "ja"}
    missing = {
        language: [text for text in shown_texts() if not table.get(text)]
        for language, table in languages.items()
    }
    assert not any(missing.values()), missing


def test_no_translation_is_left_of_a_text_that_is_gone(work: Path) -> None:
    shown = set(shown_texts())
    for language, table in room("panels.translations").LANGUAGES.items():
        assert not [text for text in table if text not in shown], language


def test_places_for_names_and_numbers_are_kept(work: Path) -> None:
    for language, table in room("panels.translations").LANGUAGES.items():
        for text, said in table.items():
            places = re.findall(r"\{\w*\}", text)
            assert sorted(places) == sorted(re.findall(r"\{\w*\}", said)), (language, text)
            assert not (said.endswith(".") and not text.endswith(".")), (language, text)


def test_blender_shows_them_in_the_language_of_its_preferences(work: Path) -> None:
    view = bpy.context.preferences.view
    languages = [item.identifier for item in view.bl_rna.properties["language"].enum_items]
    tables = room("panels.translations").LANGUAGES
    text = "Left keeps the source's shapes"
    (tooltip,) = (known for known in tables["de"] if known.startswith(text))
    before = view.language
    seen = 0
    try:
        for language, table in tables.items():
            known = [name for name in languages if name.split("_")[0] == language]
            if not known:
                continue
            view.language = known[0]
            view.use_translate_tooltips = view.use_translate_interface = True
            assert bpy.app.translations.pgettext_tip(tooltip) == table[tooltip], language
            operator = bpy.app.translations.contexts.operator_default
            said = bpy.app.translations.pgettext_iface("Edit Again", operator)
            assert said == table["Edit Again"], language
            seen += 1
    finally:
        view.language = before
    assert seen == (len(tables) if bpy.app.build_options.international else 0)
    assert EXTENSION in bpy.context.preferences.addons


if __name__ == "__main__":
    print("\n".join(shown_texts()))
