"""The edit's settings as Blender keeps them: on the scene for the next edit, on each result strip.

No postponed annotations here: Blender reads the properties out of the classes' annotations.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    IntVectorProperty,
    PointerProperty,
    StringProperty,
)

from ..tokenflow_engine.client.edit_request import (
    BOUNDS,
    DEVICES,
    DTYPES,
    QUALITIES,
    REGIONS,
    EditRequest,
)
from ..tokenflow_engine.client.strengths import (
    COURSES,
    MIDDLE,
    freedom_of,
    nearest_freedom,
    strengths_at,
)

_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(EditRequest)}
_FIXED: set[str] = set()
"""No property is animatable: an edit has one value of each."""


def _whole_number(name: str, label: str, description: str, **limits: Any) -> Any:
    low, high = BOUNDS[name]
    return IntProperty(**_plain(name, label, description), min=int(low), max=int(high), **limits)


def _number(name: str, label: str, description: str, **limits: Any) -> Any:
    low, high = BOUNDS[name]
    return FloatProperty(**_plain(name, label, description), min=low, max=high, **limits)


def _plain(name: str, label: str, description: str) -> dict[str, Any]:
    return {
        "name": label,
        "description": description,
        "default": _DEFAULTS[name],
        "options": _FIXED,
    }


def _text(label: str, description: str) -> Any:
    return StringProperty(name=label, description=description, options=_FIXED)


def _folder(label: str, description: str) -> Any:
    return _path(label, description, "DIR_PATH")


def _path(label: str, description: str, subtype: str) -> Any:
    return StringProperty(
        name=label,
        description=description,
        subtype=subtype,
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )


class EditFields:
    """What scene and result strip have in common: the fields of an `EditRequest`."""

    prompt: _text("Prompt", "What the strip should show after the edit")
    negative_prompt: _text("Negative Prompt", "What the result must not show; may be empty")
    source_prompt: _text(
        "Source Prompt",
        "What the strip shows now. Keeps the motion, and keeps the edit to what the prompts name "
        "differently; may be empty",
    )
    editor: EnumProperty(
        name="Editor",
        description="How each keyframe is edited",
        items=(
            (
                "pnp",
                "Plug-and-Play",
                "Keeps shapes and layout: injects the source's features and attention",
            ),
            ("sdedit", "SDEdit", "Freer: adds noise to the source and denoises it by the prompt"),
        ),
        default=_DEFAULTS["editor"],
        options=_FIXED,
    )
    quality: EnumProperty(
        name="Quality",
        description="How much time the edit may take",
        items=tuple(
            zip(
                QUALITIES,
                ("Final", "Draft"),
                (
                    "As many steps as are set, and nothing left out",
                    "Lossy: quicker and coarser, to try prompts with. At most 12 steps, attention "
                    "to every second spot of the picture, and the model's small decoder if it has "
                    "one",
                ),
                strict=True,
            )
        ),
        default=_DEFAULTS["quality"],
        options=_FIXED,
    )
    steps: _whole_number(
        "steps", "Steps", "Denoising steps of the edit: more is finer and slower", soft_max=100
    )
    inversion_steps: _whole_number(
        "inversion_steps",
        "Inversion Steps",
        "Steps that turn the source into noise: more is slower, and keeps the source hardly better",
        soft_max=200,
    )
    guidance_scale: _number(
        "guidance_scale",
        "Guidance",
        "How strongly the prompt pulls; 1 switches guidance off",
        soft_max=20.0,
        step=50,
        precision=1,
    )
    seed: _whole_number("seed", "Seed", "Equal seeds and settings give equal results")
    variation: _number(
        "variation",
        "Variation",
        "Share of fresh noise that the edit starts from, drawn by the seed; at 0 the source's own "
        "noise is kept, and another seed changes little",
        subtype="FACTOR",
        soft_max=0.6,
    )
    chunk: _whole_number(
        "chunk", "Chunk", "Frames for each keyframe; more need more memory", soft_max=16
    )
    mode: EnumProperty(
        name="Propagation",
        description="How the keyframes' features travel to the frames between them",
        items=(
            ("smooth", "Smooth", "Continuous blend between the two nearest keyframes"),
            ("paper", "Paper", "The two nearest keyframes, weighted as in the paper"),
            ("reference", "Reference", "What the authors' released code does"),
        ),
        default=_DEFAULTS["mode"],
        options=_FIXED,
    )
    pnp_attention: _number(
        "pnp_attention",
        "Attention",
        "Plug-and-Play: share of the steps in which the source's attention is injected",
        subtype="FACTOR",
    )
    pnp_features: _number(
        "pnp_features",
        "Features",
        "Plug-and-Play: share of the steps in which the source's features are injected",
        subtype="FACTOR",
    )
    sdedit_start: _number(
        "sdedit_start",
        "Strength",
        "SDEdit: share of the diffusion that is run again; 1 keeps nothing of the source",
        subtype="FACTOR",
    )
    region: EnumProperty(
        name="Region",
        description="Where the edit may change the picture",
        items=tuple(
            zip(
                REGIONS,
                ("Where the Prompts Differ", "Everywhere"),
                (
                    "Only what the prompt names otherwise than the source prompt; all else keeps "
                    "the source's pixels",
                    "The whole picture",
                ),
                strict=True,
            )
        ),
        default=_DEFAULTS["region"],
        options=_FIXED,
    )
    steadying: _whole_number(
        "steadying",
        "Steadying",
        "Frames on each side that a frame is averaged with along the source's motion, against "
        "flicker; 0 for none",
    )
    # A folder or a file: Blender's dialog for files takes both, the one for folders does not.
    model_folder: _path(
        "Model",
        "Folder of a Stable Diffusion model in diffusers layout, or a single .safetensors file; "
        "empty for the small demonstration model that comes with the add-on",
        "FILE_PATH",
    )
    use_size: BoolProperty(
        name="Set Size",
        description="Edit at this size; otherwise at the strip's own",
        default=False,
        options=_FIXED,
    )
    size: IntVectorProperty(
        name="Size",
        description="Width and height of the edited frames in pixels, multiples of 8",
        size=2,
        default=(512, 512),
        min=64,
        max=8192,
        step=8,
        subtype="XYZ",
        options=_FIXED,
    )
    device: EnumProperty(
        name="Device",
        description="What computes the edit",
        items=tuple(
            zip(
                DEVICES,
                ("Automatic", "CPU", "CUDA", "Metal"),
                ("The fastest that is found", "Processor", "NVIDIA or AMD GPU", "Apple GPU"),
                strict=True,
            )
        ),
        default=_DEFAULTS["device"],
        options=_FIXED,
    )
    dtype: EnumProperty(
        name="Precision",
        description="Numbers that the model computes with",
        items=tuple(
            zip(
                DTYPES,
                ("Automatic", "Float32", "Float16", "Bfloat16", "Float64"),
                (
                    "Half on a GPU, single on a processor",
                    "Single precision: works everywhere",
                    "Half precision: half of the memory, for GPUs",
                    "Half precision with the range of single, for newer GPUs",
                    "Double precision: slow, to compare implementations",
                ),
                strict=True,
            )
        ),
        default=_DEFAULTS["dtype"],
        options=_FIXED,
    )
    picture_format: EnumProperty(
        name="Format",
        description="Files of the edited frames; all keep the strip's alpha",
        items=(
            ("png8", "PNG, 8 Bit", "Small, and enough for what comes from a camera's 8 bits"),
            ("png16", "PNG, 16 Bit", "No banding when the result is graded"),
            ("exr", "OpenEXR", "Linear half floats, for compositing"),
        ),
        default=_DEFAULTS["picture_format"],
        options=_FIXED,
    )


class TokenFlowSettings(EditFields, bpy.types.PropertyGroup):
    """On a scene: what the next edit is made with."""

    # Kept nowhere, so that it always agrees with the single strengths, whoever sets or undoes them.
    freedom: FloatProperty(
        name="Fidelity - Freedom",
        description="Left keeps the source's shapes and layout, right gives the prompt more room; "
        "sets guidance and the strengths under Advanced together",
        get=lambda settings: nearest_freedom(_strengths(settings), settings.editor),
        set=lambda settings, value: _set_strengths(settings, value),
        min=0.0,
        max=1.0,
        default=MIDDLE,
        subtype="FACTOR",
        options=_FIXED,
    )
    preview_frames: IntProperty(
        name="Preview Frames",
        description="How many frames, spread over the strip, a preview edits",
        default=4,
        min=2,
        max=int(BOUNDS["preview_frames"][1]),
        soft_max=4,
        options=_FIXED,
    )
    frames_folder: _folder(
        "Frames Folder",
        "Where edited frames are written; empty for the place set in the preferences",
    )


class TokenFlowStrip(EditFields, bpy.types.PropertyGroup):
    """On a strip: what finds it again, and, for a result, all that it was made from."""

    uid: StringProperty(options={"HIDDEN"})
    source_uid: StringProperty(options={"HIDDEN"})
    source_name: _text("Source", "Strip that was edited")
    folder: _folder("Folder", "Where the edited frames are")
    request: _text("Request", "The whole request as JSON")
    result: _text("Result", "What the engine said about the result, as JSON")


def is_custom(settings: EditFields) -> bool:
    """Whether the strengths are none that the slider between fidelity and freedom stands for."""
    return freedom_of(_strengths(settings), settings.editor) is None


def _strengths(settings: EditFields) -> dict[str, float]:
    return {name: getattr(settings, name) for name in COURSES}


def _set_strengths(settings: EditFields, freedom: float) -> None:
    for name, value in strengths_at(freedom).items():
        setattr(settings, name, value)


_SAME_NAME = tuple(
    name for name in EditFields.__annotations__ if name in _DEFAULTS and name != "size"
)


def request_template(settings: EditFields) -> EditRequest:
    """The request that the settings describe, still without source and output."""
    values = {name: getattr(settings, name) for name in _SAME_NAME}
    # Blender's floats are single precision: 0.8 would become 0.800000011920929.
    values |= {k: round(v, 6) for k, v in values.items() if isinstance(v, float)}
    return EditRequest(
        source="",
        output="",
        model=bpy.path.abspath(settings.model_folder) or _DEFAULTS["model"],
        size=tuple(settings.size) if settings.use_size else None,
        **values,
    )


def keep_request(settings: EditFields, request: EditRequest) -> None:
    """Write the request's values into the settings."""
    for name in _SAME_NAME:
        setattr(settings, name, getattr(request, name))
    settings.model_folder = "" if request.model == _DEFAULTS["model"] else request.model
    settings.use_size = request.size is not None
    if request.size is not None:
        settings.size = request.size


def copy_fields(source: EditFields, target: EditFields) -> None:
    """Write all that scene and strips have in common from one into the other."""
    for name in EditFields.__annotations__:
        setattr(target, name, getattr(source, name))


def with_paths(template: EditRequest, source: Path, output: Path) -> EditRequest:
    """The complete request, its values checked.

    Raises:
        TokenFlowError: code "bad_request".
    """
    return replace(template, source=str(source), output=str(output)).validated()


classes = (TokenFlowSettings, TokenFlowStrip)


def register() -> None:
    for cls in classes:
        bpy.utils.register_class(cls)
    bpy.types.Scene.tokenflow = PointerProperty(type=TokenFlowSettings)
    bpy.types.Strip.tokenflow = PointerProperty(type=TokenFlowStrip)


def unregister() -> None:
    del bpy.types.Strip.tokenflow
    del bpy.types.Scene.tokenflow
    for cls in reversed(classes):
        bpy.utils.unregister_class(cls)
