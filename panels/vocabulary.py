"""The demonstration model's words: menus that put them into the prompt, and a note on others."""

from __future__ import annotations

from bpy.app.translations import pgettext_iface
from bpy.types import Context, Menu, UILayout

from ..operators.insert_word import TOKENFLOW_OT_insert_word
from ..sequencer.settings import TokenFlowSettings
from ..tokenflow_engine.client.embedded_words import (
    GROUNDS,
    LOOKS,
    SHAPES,
    SKY_PHRASES,
    unknown_words,
)
from .wrapped_text import draw_wrapped

_NAMED = 4
"""Unknown words that the note names."""


def _draw_words(layout: UILayout, words: tuple[str, ...]) -> None:
    for word in words:
        layout.operator(TOKENFLOW_OT_insert_word.bl_idname, text=word, translate=False).word = word


class TOKENFLOW_MT_looks(Menu):
    bl_label = "Looks"

    def draw(self, context: Context) -> None:
        _draw_words(self.layout, LOOKS)


class TOKENFLOW_MT_shapes(Menu):
    bl_label = "Shapes"

    def draw(self, context: Context) -> None:
        _draw_words(self.layout, SHAPES)


class TOKENFLOW_MT_grounds(Menu):
    bl_label = "Grounds"

    def draw(self, context: Context) -> None:
        _draw_words(self.layout, tuple(f"on {ground}" for ground in GROUNDS))


class TOKENFLOW_MT_skies(Menu):
    bl_label = "Skies"

    def draw(self, context: Context) -> None:
        _draw_words(self.layout, tuple(SKY_PHRASES.values()))


_MENUS = (TOKENFLOW_MT_looks, TOKENFLOW_MT_shapes, TOKENFLOW_MT_grounds, TOKENFLOW_MT_skies)


def draw_vocabulary(layout: UILayout, context: Context, settings: TokenFlowSettings) -> None:
    """Nothing for a model of the user's own, which knows far more words."""
    if settings.model_folder:
        return
    row = layout.row(align=True)
    for menu in _MENUS:
        row.menu(menu.__name__)
    prompts = (settings.prompt, settings.source_prompt, settings.negative_prompt)
    unknown = unknown_words(" ".join(prompts))
    if unknown:
        words = ", ".join(f"\u201c{word}\u201d" for word in unknown[:_NAMED])
        note = pgettext_iface("The demonstration model does not know {words}.")
        draw_wrapped(layout, context, note.format(words=words))


classes = _MENUS
