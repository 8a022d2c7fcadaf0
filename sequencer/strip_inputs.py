"""What else the Sequencer needs to show one strip: inputs, masks, strips below an adjustment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bpy.types import SequenceEditor, Strip

from .compatibility import parent_strips

READS_BELOW = {"ADJUSTMENT", "MULTICAM"}
"""Effects that show what lies below them instead of inputs of their own."""


def masks_of(strip: Strip) -> list[Strip]:
    """Strips that mask the strip's modifiers."""
    masks = (getattr(modifier, "input_mask_strip", None) for modifier in strip.modifiers)
    return [mask for mask in masks if mask is not None]


def inputs_of(strip: Strip) -> list[Strip]:
    """The strips that an effect is made from; none for any other strip."""
    inputs = (getattr(strip, f"input_{number}", None) for number in (1, 2))
    return [each for each in inputs if each is not None]


def enclosing_metas(strip: Strip) -> list[Strip]:
    """The meta strips around a strip, the innermost first."""
    metas = []
    meta = strip.parent_meta()
    while meta is not None:
        metas.append(meta)
        meta = meta.parent_meta()
    return metas


def strips_below(editor: SequenceEditor, strip: Strip) -> list[Strip]:
    """Strips on lower channels beside the strip, and, as Blender looks on there if it finds none,
    beside each meta strip around it.
    """
    return [
        other
        for level in (strip, *enclosing_metas(strip))
        for other in parent_strips(editor, level)
        if other.channel < level.channel
    ]


def needed_strips(editor: SequenceEditor, strip: Strip) -> dict[str, Strip]:
    """Everything that takes part in the strip's pictures, itself included, by name.

    Children of a meta strip come with it and are listed as well.
    """
    found: dict[str, Strip] = {}
    waiting = [strip]
    while waiting:
        some = waiting.pop()
        if some.name in found:
            continue
        found[some.name] = some
        waiting += inputs_of(some) + masks_of(some)
        if some.type in READS_BELOW:
            waiting += strips_below(editor, some)
        if some.type == "META":
            waiting += list(some.strips)
    return found


def unmuted_strips(strips: Iterable[Strip], root: Strip) -> Iterator[Strip]:
    """Those that neither their own switch mutes nor that of a meta strip inside of `root`."""
    for strip in strips:
        metas = enclosing_metas(strip)
        inside = metas[: metas.index(root)] if root in metas else metas[:0]
        if not strip.mute and not any(meta.mute for meta in inside):
            yield strip
