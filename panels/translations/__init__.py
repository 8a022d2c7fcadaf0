"""What the add-on shows, in other languages; Blender picks the one of its preferences.

Sentences that the engine says, and those with names or numbers in them, stay in English so far.
"""

from __future__ import annotations

import bpy
from bpy.app.translations import contexts

from .french import FRENCH
from .german import GERMAN
from .japanese import JAPANESE

LANGUAGES: dict[str, dict[str, str]] = {"de": GERMAN, "fr": FRENCH, "ja": JAPANESE}
"""By language: English text and its translation."""


def register() -> None:
    # Blender looks for a button's text in another context than for all else.
    both = (contexts.default, contexts.operator_default)
    bpy.app.translations.register(
        __package__,
        {
            language: {(context, text): said for text, said in table.items() for context in both}
            for language, table in LANGUAGES.items()
        },
    )


def unregister() -> None:
    bpy.app.translations.unregister(__package__)
