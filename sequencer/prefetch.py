"""Blender's reading ahead, which must rest while strips change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bpy.types import SequenceEditor


@contextlib.contextmanager
def prefetch_silenced(editor: SequenceEditor) -> Iterator[None]:
    """Blender may crash when strips change under a running prefetch."""
    wanted = editor.use_prefetch
    editor.use_prefetch = False
    try:
        yield
    finally:
        editor.use_prefetch = wanted
