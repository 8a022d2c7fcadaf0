"""The steps of a job that Blender does: extract and assemble. The engine does the others."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import bpy
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.edit_list import EditList, ListedEdit
from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.edit_steps import EDIT_FILE, is_rendered
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.job_folder import JobFolder, content_hash, hash_of, pictures_in
from ..tokenflow_engine.client.path_mapping import PathMapping
from ..tokenflow_engine.client.progress import EditResult
from ..tokenflow_engine.client.step_report import StepReport
from .project_copy import save_copy
from .project_edits import file_of, find
from .result_strip import add_result_strip
from .source_strip import check
from .strip_alone import StripFrames, frames_of
from .strip_frames import read


def extract(
    job: JobFolder, edit: ListedEdit, mapping: PathMapping, report: StepReport
) -> dict[str, Any]:
    """Render a strip's pictures into the job's folder; return what came of it.

    Raises:
        TokenFlowError: the strip is not there, has another length than the list says, or cannot be
            read.
    """
    scene, strip = find(edit)
    _map_paths(strip, mapping)
    check(strip)
    frames = frames_of(scene, strip)
    if edit.frame_count not in (None, frames.count):
        raise TokenFlowError(
            "bad_request",
            f'"{strip.name}" has {frames.count} frames, not {edit.frame_count} as when the edit '
            "list was made.",
            "Export the edit list again.",
        )
    step, target = f"extract-{edit.name}", job.frames(edit.name)
    inputs = _extract_inputs(scene, strip)
    head = {"edit": edit.name}
    known = job.finished(step, inputs)
    if known is not None and len(pictures_in(target)) == known.get("frame_count"):
        return {**head, "skipped": True, **known}
    report.begin(edit.name)
    started = time.monotonic()
    staging = target.with_name(f".{edit.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        staging.mkdir(parents=True)
        _render(scene, strip, frames, staging, report)
        outputs = {
            "frame_count": frames.count,
            "content": content_hash(*pictures_in(staging)),
            "seconds": round(time.monotonic() - started, 3),
        }
        _replace(staging, target)
    except OSError as error:
        raise TokenFlowError(
            "no_space",
            f'The frames of "{strip.name}" could not be written to {target}.',
            "Check that there is space and that the folder may be written to.",
            str(error),
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    job.finish(step, inputs, outputs)
    return {**head, "skipped": False, **outputs}


def assemble(
    job: JobFolder, edits: EditList, blend: Path, mapping: PathMapping, report: StepReport
) -> dict[str, Any]:
    """Put every edit above its strip and save a copy of the open project; one process at a time.

    Raises:
        TokenFlowError: an edit was not rendered, a strip is gone, the copy cannot be saved, or
            another process is at it.
    """
    with job.only_process("assemble"):
        _require_rendered(job, edits)
        made = [job.edited(edit.name) / EDIT_FILE for edit in edits.edits]
        inputs = hash_of(
            {
                "blend": content_hash(Path(bpy.data.filepath)),
                "edits": [edit.to_json() for edit in edits.edits],
                "made": [content_hash(file) for file in made],
                "copy": str(blend),
            }
        )
        known = job.finished("assemble", inputs)
        if known is not None and blend.is_file():
            return {"skipped": True, **known}
        started = time.monotonic()
        strips = []
        for edit in edits.edits:
            report.say(f"assemble {edit.name}")
            strips.append(_place(job, edit, mapping))
        save_copy(blend)
        seconds = round(time.monotonic() - started, 3)
        outputs = {"blend": str(blend), "strips": strips, "seconds": seconds}
        job.finish("assemble", inputs, outputs)
        return {"skipped": False, **outputs}


def _render(
    scene: Scene, strip: Strip, frames: StripFrames, folder: Path, report: StepReport
) -> None:
    reading = read(scene, strip, frames, folder, here=True)
    try:
        while not reading.finished:
            report.progress(reading.advance())
    finally:
        reading.close()


def _extract_inputs(scene: Scene, strip: Strip) -> str:
    """Hash of all that the pictures depend on.

    What strips other than movies and images show cannot be told from files, so that their hash is
    never the same twice.
    """
    about = {
        "blend": content_hash(Path(bpy.data.filepath)),
        "scene": scene.name,
        "strip": strip.name,
    }
    if strip.type == "MOVIE":
        about["files"] = content_hash(Path(bpy.path.abspath(strip.filepath)))
    elif strip.type == "IMAGE":
        folder = Path(bpy.path.abspath(strip.directory))
        about["files"] = content_hash(*(folder / element.filename for element in strip.elements))
    else:
        about["files"] = uuid.uuid4().hex
    return hash_of(about)


def _map_paths(strip: Strip, mapping: PathMapping) -> None:
    for name in ("filepath", "directory"):
        path = getattr(strip, name, "")
        if path and path == file_of(strip) and mapping(path) != path:
            setattr(strip, name, mapping(path))


def _replace(staging: Path, target: Path) -> None:
    if target.exists():
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    staging.rename(target)


def _require_rendered(job: JobFolder, edits: EditList) -> None:
    missing = []
    for edit in edits.edits:
        stamp = job.stamp(f"render-{edit.name}")
        count = None if stamp is None else stamp["outputs"].get("frame_count")
        if count is None or not is_rendered(job, edit, count):
            missing.append(edit.name)
    if missing:
        raise TokenFlowError(
            "bad_request",
            f"{len(missing)} of {len(edits.edits)} edits are not rendered: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}.",
            "Run the step render for them first.",
        )


def _place(job: JobFolder, edit: ListedEdit, mapping: PathMapping) -> dict[str, Any]:
    scene, source = find(edit)
    _map_paths(source, mapping)
    folder = job.edited(edit.name)
    try:
        made = json.loads((folder / EDIT_FILE).read_text(encoding="utf-8"))
        request = EditRequest.from_json(made["request"] | {"output": str(folder)})
        result = EditResult.from_json(made["result"] | {"output": str(folder)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TokenFlowError(
            "bad_request",
            f"{folder / EDIT_FILE} cannot be read.",
            "Render this edit again.",
            repr(error),
        ) from error
    frames = frames_of(scene, source)
    strip = add_result_strip(scene, source, frames, pictures_in(folder), request, result)
    about = {"edit": edit.name, "scene": scene.name, "strip": strip.name}
    return {**about, "channel": strip.channel, "warnings": list(result.warnings)}
