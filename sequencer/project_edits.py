"""Edits of a project as an edit list: those that its result strips keep, or new ones of strips."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy
from bpy.types import Context, Scene, Strip

from ..tokenflow_engine.client.edit_list import SETTINGS, EditList, ListedEdit, unique_names
from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.model_hash import hashing_steps, model_path
from .compatibility import left_handle, right_handle, sequencer_scene
from .preset_list import preset_library
from .settings import request_template
from .source_strip import check, named_strip, obstacle
from .strip_alone import frames_of


@dataclass(frozen=True)
class ProjectEdit:
    """What one strip is to be edited with. request: without source and output."""

    scene: Scene
    strip: Strip
    request: EditRequest
    preset: str = ""


def every_strip() -> list[tuple[Scene, Strip]]:
    """All strips of the project with their scenes, in the order of scene, channel and time."""
    found = [
        (scene, strip)
        for scene in bpy.data.scenes
        if scene.sequence_editor is not None
        for strip in scene.sequence_editor.strips_all
    ]
    scenes = list(bpy.data.scenes)
    return sorted(
        found, key=lambda pair: (scenes.index(pair[0]), pair[1].channel, left_handle(pair[1]))
    )


def kept_edits(among: Iterable[tuple[Scene, Strip]] | None = None) -> list[ProjectEdit]:
    """The edits whose results lie in the project, from what each result strip keeps.

    Raises:
        TokenFlowError: code "bad_request", where a source strip is gone or a request is damaged.
    """
    everything = every_strip()
    sources = {strip.tokenflow.uid: (scene, strip) for scene, strip in everything}
    found = []
    for _scene, result in everything if among is None else among:
        if not result.tokenflow.request:
            continue
        source = sources.get(result.tokenflow.source_uid)
        if source is None:
            raise TokenFlowError(
                "bad_request",
                f'The strip that "{result.name}" was made from is gone.',
                f'Put "{result.tokenflow.source_name}" back, or delete "{result.name}".',
            )
        found.append(ProjectEdit(*source, request_of(result)))
    return found


def new_edits(pairs: Iterable[tuple[Scene, Strip]], changes: dict[str, Any]) -> list[ProjectEdit]:
    """Edits of strips with their scene's settings and some changes to them."""
    return [
        ProjectEdit(scene, strip, replace(request_template(scene.tokenflow), **changes))
        for scene, strip in pairs
    ]


def request_of(result: Strip) -> EditRequest:
    """The request that a result strip keeps.

    Raises:
        TokenFlowError: code "bad_request", if it cannot be read.
    """
    try:
        return EditRequest.from_json(json.loads(result.tokenflow.request))
    except (ValueError, TokenFlowError) as error:
        raise TokenFlowError(
            "bad_request",
            f'What "{result.name}" was made with cannot be read.',
            "Edit its source again.",
            str(error),
        ) from error


def listed(edits: Iterable[ProjectEdit]) -> EditList:
    """The complete edit list, but for the models' hashes, see `hashing_models`.

    Raises:
        TokenFlowError: a strip cannot be edited, or a value is out of bounds.
    """
    chosen = list(edits)
    names = unique_names([edit.strip.name for edit in chosen])
    return EditList(
        tuple(_listed(edit, name) for edit, name in zip(chosen, names, strict=True)),
        bpy.data.filepath,
    )


def completed(edits: EditList) -> EditList:
    """An edit list with everything that only Blender knows: frame counts, files, presets' values.

    Raises:
        TokenFlowError: a strip is not there or cannot be edited, or a preset is unknown.
    """
    complete = []
    for edit in edits.edits:
        scene, strip = find(edit)
        settings = {**preset_values(edit.preset), **edit.settings}
        if not settings.get("prompt"):
            raise TokenFlowError(
                "bad_request",
                f'The edit "{edit.name}" has no prompt.',
                "Give one, or name a preset that has one.",
            )
        base = {f.name: f.default for f in SETTINGS if f.name != "prompt"}
        request = EditRequest(source="", output="", **{**base, **settings})
        whole = ProjectEdit(scene, strip, replace(request, frames=edit.frames), edit.preset)
        complete.append(replace(_listed(whole, edit.name), model_hash=edit.model_hash))
    return EditList(tuple(complete), edits.blend or bpy.data.filepath)


def hashing_models(edits: EditList) -> Generator[None, None, EditList]:
    """The list with the hash of each edit's model; it is what the generator returns.

    Reads every byte of the models, in steps of some milliseconds.

    Raises:
        TokenFlowError: code "unknown_model", if a model cannot be read.
    """
    known: dict[str, str] = {}
    for edit in edits.edits:
        model = str(edit.settings["model"])
        if model not in known:
            try:
                is_there = model_path(model).exists()
                known[model] = (yield from hashing_steps(model_path(model))) if is_there else ""
            except OSError as error:
                raise TokenFlowError(
                    "unknown_model",
                    "A model could not be read.",
                    "Check that its files are there and may be opened.",
                    str(error),
                ) from error
    return replace(
        edits,
        edits=tuple(
            replace(edit, model_hash=edit.model_hash or known[str(edit.settings["model"])])
            for edit in edits.edits
        ),
    )


def find(edit: ListedEdit) -> tuple[Scene, Strip]:
    """The strip that an edit means.

    Raises:
        TokenFlowError: code "bad_request", if there is none.
    """
    scene = bpy.data.scenes.get(edit.scene) if edit.scene else None
    if scene is None or scene.sequence_editor is None:
        return named_strip(bpy.context, edit.strip)
    strip = scene.sequence_editor.strips_all.get(edit.strip)
    return (scene, strip) if strip is not None else named_strip(bpy.context, edit.strip)


def preset_values(name: str) -> dict[str, Any]:
    """The values of the preset with this name; none for an empty name.

    Raises:
        TokenFlowError: code "bad_request", if there is no such preset.
    """
    if not name:
        return {}
    stored = preset_library().named(name)
    if stored is None:
        names = ", ".join(s.preset.name for s in preset_library().presets[:12])
        raise TokenFlowError(
            "bad_request", f'There is no preset "{name}".', f"Choose one, for example {names}."
        )
    return dict(stored.preset.values)


def described(scene: Scene, strip: Strip) -> dict[str, Any]:
    """What `list` says about a strip."""
    problem = obstacle(strip)
    if problem is None:
        try:
            check(strip)
        except TokenFlowError as error:
            problem = error
    about: dict[str, Any] = {
        "scene": scene.name,
        "strip": strip.name,
        "type": strip.type,
        "channel": strip.channel,
        "timeline": [left_handle(strip), right_handle(strip)],
        "editable": problem is None,
    }
    if problem is not None:
        about |= {"reason": problem.message, "remedy": problem.remedy}
    else:
        frames = frames_of(scene, strip)
        about |= {
            "file": file_of(strip),
            "frame_count": frames.count,
            "size": list(frames.size),
            "fps": scene.render.fps / scene.render.fps_base,
        }
    if strip.tokenflow.request:
        about |= {
            "edit_of": strip.tokenflow.source_name,
            "prompt": strip.tokenflow.prompt,
            "seed": strip.tokenflow.seed,
        }
    return about


def file_of(strip: Strip) -> str:
    """The movie or folder as the .blend names it; empty for other strips."""
    return str(getattr(strip, "filepath", "") or getattr(strip, "directory", ""))


def _listed(edit: ProjectEdit, name: str) -> ListedEdit:
    check(edit.strip)
    frames = frames_of(edit.scene, edit.strip)
    values = {f.name: getattr(edit.request, f.name) for f in SETTINGS}
    entry = ListedEdit(
        name=name,
        strip=edit.strip.name,
        scene=edit.scene.name,
        file=file_of(edit.strip),
        frame_count=frames.count,
        frames=edit.request.frames or (0, frames.count),
        preset=edit.preset,
        settings={k: v for k, v in values.items() if v is not None},
    )
    # Bounds are the request's own business.
    entry.request(Path("-"), Path("-"))
    if entry.range()[1] > frames.count:
        raise TokenFlowError(
            "bad_request",
            f'The frames {entry.range()[0]}:{entry.range()[1]} go beyond "{edit.strip.name}", '
            f"which has {frames.count}.",
            f"Choose a range within 0:{frames.count}.",
        )
    return entry


def selected(context: Context) -> list[tuple[Scene, Strip]]:
    """Selected strips of the Sequencer's scene."""
    scene = sequencer_scene(context)
    return [pair for pair in every_strip() if pair[0] == scene and pair[1].select]
