"""The words that the embedded model was trained on; it refuses all others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import TokenFlowError

if TYPE_CHECKING:
    from .edit_request import EditRequest

EMBEDDED = "embedded"
"""The name by which a request asks for this model."""

SHAPES = ("ball", "cube", "cone", "cylinder")
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black")
METALS = ("gold", "silver")
PATTERNS = ("wooden", "checkered", "marble")
LOOKS = (*COLOURS, *METALS, *PATTERNS)
GROUNDS = ("grass", "sand", "snow", "stone")
SKIES = ("blue", "sunset", "cloudy", "night")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "look": LOOKS,
    "shape": SHAPES,
    "ground": GROUNDS,
    "sky": SKIES,
}
"""Name of each attribute of a scene and the values it takes."""

SKY_PHRASES: dict[str, str] = {
    "blue": "under a blue sky",
    "sunset": "at sunset",
    "cloudy": "under a cloudy sky",
    "night": "at night",
}
FUNCTION_WORDS = ("a", "an", "the", "on", "under", "at", "of")
FRAME_WORDS = ("sky", "object", "photo", "picture", "video")

VOCABULARY: frozenset[str] = frozenset(
    (*SHAPES, *LOOKS, *GROUNDS, *SKIES, *FUNCTION_WORDS, *FRAME_WORDS)
)
"""Every word the embedded model was trained on, in lower case."""


_MOST_NAMED = 5
"""Unknown words that a refusal names."""


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, without punctuation."""
    return re.findall(r"[^\W\d_]+|\d+", text.lower())


def unknown_words(text: str) -> list[str]:
    """The words of a text that are not in the vocabulary, in order, each once."""
    return [word for word in dict.fromkeys(words_of(text)) if word not in VOCABULARY]


def require_known_words(request: EditRequest) -> None:
    """Let every request pass but one to the embedded model in words of another world.

    Raises:
        TokenFlowError: code "unknown_words", naming them and what the model knows instead.
    """
    if request.model != EMBEDDED:
        return
    prompts = (request.prompt, request.source_prompt, request.negative_prompt)
    unknown = unknown_words(" ".join(prompts))
    if unknown:
        some = ", ".join(f'"{word}"' for word in unknown[:_MOST_NAMED])
        if unknown[_MOST_NAMED:]:
            some += " and others"
        raise TokenFlowError(
            "unknown_words",
            f"The embedded model does not know the word{'s' if unknown[1:] else ''} {some}.",
            f"It knows these words: {', '.join(_listed())}; "
            "use a Stable Diffusion checkpoint for anything else.",
        )


def _listed() -> list[str]:
    """The vocabulary in the order of a sentence: what, on what, under what."""
    words = (*LOOKS, *SHAPES, *GROUNDS, *SKIES, *FRAME_WORDS, *FUNCTION_WORDS)
    return list(dict.fromkeys(words))
