"""One value between fidelity and freedom, and the strengths of an edit that it stands for.

0 keeps as much of the source as the editors can, 1 gives the prompt as much room as they can, and
the middle is what an `EditRequest` starts with. Each strength goes straight from one end to the
middle and on to the other end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import NamedTuple

from .edit_request import EditRequest

MIDDLE = 0.5


class Course(NamedTuple):
    """Values of one strength at 0, at the middle and at 1; rising or falling all the way."""

    fidelity: float
    middle: float
    freedom: float


_DEFAULTS = {field.name: field.default for field in fields(EditRequest)}


def _course(name: str, fidelity: float, freedom: float) -> Course:
    return Course(fidelity, float(_DEFAULTS[name]), freedom)  # type: ignore[arg-type]


COURSES: dict[str, Course] = {
    "guidance_scale": _course("guidance_scale", 4.0, 12.0),
    "pnp_attention": _course("pnp_attention", 1.0, 0.0),
    "pnp_features": _course("pnp_features", 1.0, 0.2),
    "sdedit_start": _course("sdedit_start", 0.5, 1.0),
}
"""Fields of an `EditRequest` that follow the one value."""

IN_USE: dict[str, tuple[str, ...]] = {
    "pnp": ("guidance_scale", "pnp_attention", "pnp_features"),
    "sdedit": ("guidance_scale", "sdedit_start"),
}
"""The strengths that each editor takes notice of."""

_TOLERANCE = 0.005
"""Of the one value; Blender keeps single precision, and people type two places."""


def strengths_at(freedom: float) -> dict[str, float]:
    """All strengths for a value, which is brought into [0, 1]; at most four decimal places."""
    freedom = min(1.0, max(0.0, freedom))
    return {name: round(_at(course, freedom), 4) for name, course in COURSES.items()}


def freedom_of(strengths: Mapping[str, float], editor: str) -> float | None:
    """The value whose strengths these are, as far as the editor uses them; None if there is none.

    Raises:
        KeyError: for an unknown editor, or where a strength that it uses is missing.
    """
    nearest = nearest_freedom(strengths, editor)
    for name in IN_USE[editor]:
        low, high = sorted((COURSES[name].fidelity, COURSES[name].freedom))
        if not low - 1e-6 <= round(strengths[name], 6) <= high + 1e-6:
            return None
        if abs(_place(COURSES[name], strengths[name]) - nearest) > _TOLERANCE:
            return None
    return nearest


def nearest_freedom(strengths: Mapping[str, float], editor: str) -> float:
    """The value in [0, 1] that strengths set one by one come closest to: the mean of their own."""
    places = [_place(COURSES[name], strengths[name]) for name in IN_USE[editor]]
    return sum(places) / len(places)


def _at(course: Course, freedom: float) -> float:
    if freedom <= MIDDLE:
        return course.fidelity + (course.middle - course.fidelity) * freedom / MIDDLE
    way = (freedom - MIDDLE) / (1 - MIDDLE)
    return course.middle + (course.freedom - course.middle) * way


def _place(course: Course, strength: float) -> float:
    """Where on its course a strength is, in [0, 1]."""
    # Both halves head the same way, so that the sign tells on which one the strength lies.
    way = (strength - course.middle) / (course.freedom - course.middle)
    if way < 0:
        way = -(strength - course.middle) / (course.fidelity - course.middle)
    return min(1.0, max(0.0, MIDDLE + way / 2))
