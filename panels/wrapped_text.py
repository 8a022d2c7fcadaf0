"""Sentences in the sidebar."""

from __future__ import annotations

import textwrap

from bpy.app.translations import pgettext_iface
from bpy.types import Context, UILayout

_POINTS_PER_CHARACTER = 6.0
"""Mean width of a character in Blender's interface font at a scale of 1."""
_POINTS_OF_BOX = 60


def draw_wrapped(layout: UILayout, context: Context, text: str, *, alert: bool = False) -> None:
    """Labels do not break their lines, so that a sentence has to be cut to the sidebar's width."""
    scale = context.preferences.system.ui_scale
    points = context.region.width / scale - _POINTS_OF_BOX
    column = layout.column(align=True)
    column.alert = alert
    column.scale_y = 0.85
    width = max(12, int(points / _POINTS_PER_CHARACTER))
    for line in textwrap.wrap(pgettext_iface(text), width, break_on_hyphens=False):
        column.label(text=line, translate=False)
