"""What exists in the toy world, and every word of its captions."""

from __future__ import annotations

SHAPES = ("ball", "cube", "cone", "cylinder")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.06, 0.05),
    "green": (0.06, 0.60, 0.10),
    "blue": (0.06, 0.18, 0.82),
    "yellow": (0.95, 0.80, 0.06),
    "orange": (0.97, 0.42, 0.03),
    "purple": (0.42, 0.08, 0.60),
    "white": (0.90, 0.90, 0.90),
    "black": (0.05, 0.05, 0.055),
}
"""Linear RGB albedo of the plain looks."""
METALS: dict[str, tuple[float, float, float]] = {
    "gold": (1.0, 0.74, 0.22),
    "silver": (0.90, 0.91, 0.93),
}
"""Linear RGB reflectance of the mirror looks."""
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
