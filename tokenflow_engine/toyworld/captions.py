"""Captions of scenes: the full form, random partial forms, and back to attributes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..client.embedded_words import (
    ATTRIBUTES,
    LOOKS,
    SHAPES,
    SKY_PHRASES,
    unknown_words,
    words_of,
)
from .scene import Scene

PICTURE_WORDS = ("photo", "picture", "video")


def full_caption(scene: Scene) -> str:
    """Names all four attributes: "a red ball on grass under a blue sky"."""
    return f"{_thing(scene.look, scene.shape)} on {scene.ground} {SKY_PHRASES[scene.sky]}"


def random_caption(scene: Scene, rng: np.random.Generator, *, full_share: float = 0.6) -> str:
    """The full caption with probability `full_share`, else one that leaves out or reorders."""
    if rng.random() < full_share:
        return full_caption(scene)
    look = scene.look if rng.random() > 0.08 else ""
    shape = scene.shape if rng.random() > 0.08 else "object"
    thing = _thing(look, shape)
    ground = f"on the {scene.ground}" if rng.random() < 0.25 else f"on {scene.ground}"
    sky = SKY_PHRASES[scene.sky]
    form = rng.random()
    if form < 0.40:
        caption = f"{thing} {ground} {sky}"
    elif form < 0.65:
        caption = f"{thing} {ground}"
    elif form < 0.78:
        caption = f"{thing} {sky}"
    elif form < 0.90:
        caption = thing
    else:
        caption = f"{thing} {sky} {ground}"
    if rng.random() < 0.2:
        caption = f"a {rng.choice(PICTURE_WORDS)} of {caption}"
    return caption


def parse_caption(caption: str) -> dict[str, str]:
    """The attributes that a caption names, a subset of `ATTRIBUTES`' keys with their values.

    Raises ValueError for a word outside the vocabulary.
    """
    unknown = unknown_words(caption)
    if unknown:
        raise ValueError(f"The toy world has no word {unknown[0]!r}.")
    text = " ".join(words_of(caption))
    found: dict[str, str] = {}
    for sky, phrase in SKY_PHRASES.items():
        if phrase in text:
            found["sky"] = sky
            # "a blue sky" must not pass for a blue look.
            text = text.replace(phrase, "")
    for word in text.split():
        for name, values in ATTRIBUTES.items():
            if name != "sky" and word in values:
                found[name] = word
    return found


def scene_attributes(scene: Scene) -> Mapping[str, str]:
    """The four attributes of a scene by name."""
    return {name: getattr(scene, name) for name in ATTRIBUTES}


def _thing(look: str, shape: str) -> str:
    assert look in ("", *LOOKS) and shape in (*SHAPES, "object")
    words = f"{look} {shape}".strip()
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
