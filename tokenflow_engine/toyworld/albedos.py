"""How the looks that words name reflect light; the words themselves are the client's."""

from __future__ import annotations

from ..client import embedded_words as words

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

if (*COLOURS, *METALS) != (*words.COLOURS, *words.METALS):
    raise ImportError("a look has a word and no colour, or the other way round")
