"""Blender 4.5, 5.0 and 5.2 behind one set of names.

Blender 5.2 names a strip's timing anew (`left_handle` for `frame_final_start`) and warns at the old
names, which go in 6.0; 5.0 lets a workspace show the sequencer of another scene than the window's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy
from bpy.types import ID, Context, Scene, SequenceEditor, Strip


def sequencer_scene(context: Context) -> Scene:
    """The scene whose strips the Sequencer shows; the window's scene where none is pinned."""
    return getattr(context, "sequencer_scene", None) or context.scene


def left_handle(strip: Strip) -> int:
    """First timeline frame of the strip."""
    return int(_timing(strip, "left_handle", "frame_final_start"))


def right_handle(strip: Strip) -> int:
    """Timeline frame after the strip's last one."""
    return int(_timing(strip, "right_handle", "frame_final_end"))


def content_start(strip: Strip) -> float:
    """Timeline frame at which the untrimmed content starts; moves with the strip, not its trim."""
    return float(_timing(strip, "content_start", "frame_start"))


# Looked up once: the panels ask for the timing of many strips each time they are drawn.
_NAMED_ANEW = "left_handle" in bpy.types.Strip.bl_rna.properties


def _timing(strip: Strip, name: str, name_before_5_2: str) -> float:
    return getattr(strip, name if _NAMED_ANEW else name_before_5_2)


def parent_strips(editor: SequenceEditor, strip: Strip) -> Any:
    """The collection that holds the strip: the editor's own or the one of its meta strip."""
    meta = strip.parent_meta()
    return editor.strips if meta is None else meta.strips


def parent_channels(editor: SequenceEditor, strip: Strip) -> Any:
    """The channels beside which the strip lies, index 0 unused."""
    meta = strip.parent_meta()
    return editor.channels if meta is None else meta.channels


def new_wipe(
    strips: Any, name: str, channel: int, span: tuple[int, int], inputs: tuple[Strip, Strip]
) -> Strip:
    """A wipe effect over timeline frames span[0] ... span[1] - 1; since 5.0 it takes a length."""
    known = strips.bl_rna.functions["new_effect"].parameters
    timing = {"length": span[1] - span[0]} if "length" in known else {"frame_end": span[1]}
    return strips.new_effect(
        name=name,
        type="WIPE",
        channel=channel,
        frame_start=span[0],
        input1=inputs[0],
        input2=inputs[1],
        **timing,
    )


def write_png(scene: Scene, depth: int) -> None:
    """Let the scene render PNG with alpha, 8 or 16 bits; since 5.0 the media type comes first."""
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format = "PNG"
    settings.color_mode = "RGBA"
    settings.color_depth = str(depth)
    settings.compression = 15
    settings.color_management = "FOLLOW_SCENE"


def drop_compositor(scene: Scene) -> None:
    """Take the compositor's nodes off a scene that is a copy."""
    if hasattr(scene, "compositing_node_group"):
        scene.compositing_node_group = None
    elif scene.node_tree is not None:
        scene.node_tree.nodes.clear()


def animated_paths(owner: ID) -> Iterator[str]:
    """RNA paths of all animated or driven properties of a data-block."""
    animation = owner.animation_data
    if animation is None:
        return
    yield from (driver.data_path for driver in animation.drivers)
    if animation.action is None:
        return
    for layer in animation.action.layers:
        for part in layer.strips:
            for bag in part.channelbags:
                yield from (curve.data_path for curve in bag.fcurves)


def strip_paths(strip: Strip) -> tuple[str, str]:
    """What the RNA paths of a strip's properties start with, in new and in old files."""
    name = bpy.utils.escape_identifier(strip.name)
    return (
        f'sequence_editor.strips_all["{name}"].',
        f'sequence_editor.sequences_all["{name}"].',
    )
