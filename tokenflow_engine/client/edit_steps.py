"""The steps of a job that the engine does: invert and render. Extract and assemble are Blender's.

Each recognises by the hash of its inputs that it was done before, and is then skipped.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from .. import __version__
from .edit_list import EditList, ListedEdit
from .edit_request import EditRequest
from .errors import TokenFlowError
from .job_folder import JobFolder, StepTaken, hash_of, pictures_in
from .model_hash import fingerprint, model_files, model_path
from .path_mapping import PathMapping
from .pieces import piece_count
from .progress import EditResult
from .step_report import StepReport

EDIT_FILE = "edit.json"

RunRequest = Callable[[EditRequest, Callable[[Any], None]], EditResult]
"""The shape of `StepEngine.run`."""

_PATHS = {"source", "output", "trajectory", "keyframe_schedule", "model"}
_NOT_OF_INVERSION = {
    *(
        "prompt",
        "negative_prompt",
        "seed",
        "guidance_scale",
        "quality",
        "steps",
        "inversion_steps",
        "editor",
        "mode",
        "inversion_solver",
    ),
    *("pnp_attention", "pnp_features", "sdedit_start", "piece_frames", "piece"),
}


@dataclass(frozen=True)
class Batch:
    """Frames of one edit that are inverted together. frames: (first, last + 1) in the strip."""

    edit: ListedEdit
    frames: tuple[int, int]


def batches(edits: Iterable[ListedEdit]) -> list[Batch]:
    """Every batch of every edit in order; a batch's place in this list is its number.

    Raises:
        TokenFlowError: code "bad_request", for a list that Blender has not completed.
    """
    found: list[Batch] = []
    for edit in edits:
        first, end = edit.range()
        chunk = edit.request(Path("-"), Path("-")).chunk
        starts = range(first, end, chunk)
        found += [Batch(edit, (start, min(end, start + chunk))) for start in starts]
    return found


def parts(edits: EditList, numbers: Sequence[int]) -> list[Batch]:
    """The frames of these batches, neighbours within one edit joined.

    Raises:
        TokenFlowError: code "bad_request", for a number that there is none of.
    """
    every = batches(edits.edits)
    _require_numbers(numbers, len(every), "batch", "batches")
    joined: list[Batch] = []
    for name, of_edit in groupby((every[n] for n in sorted(set(numbers))), lambda b: b.edit.name):
        for batch in of_edit:
            last = joined[-1] if joined else None
            if last is not None and last.edit.name == name and last.frames[1] == batch.frames[0]:
                joined[-1] = replace(last, frames=(last.frames[0], batch.frames[1]))
            else:
                joined.append(batch)
    return joined


@dataclass(frozen=True)
class EditPiece:
    """A piece of an edit. number: its place in the clip; of: how many the clip has."""

    edit: ListedEdit
    number: int
    of: int


def edit_pieces(edits: Iterable[ListedEdit]) -> list[EditPiece]:
    """Every piece of every edit in order; a piece's place in this list is its number on a farm.

    Raises:
        TokenFlowError: code "bad_request", for a list that Blender has not completed.
    """
    found: list[EditPiece] = []
    for edit in edits:
        first, end = edit.range()
        request = edit.request(Path("-"), Path("-"))
        count = piece_count(end - first, request.piece_frames, request.chunk)
        found += [EditPiece(edit, number, count) for number in range(count)]
    return found


def chosen_pieces(edits: EditList, numbers: Sequence[int]) -> list[EditPiece]:
    """The pieces with these numbers.

    Raises:
        TokenFlowError: code "bad_request", for a number that there is none of.
    """
    every = edit_pieces(edits.edits)
    _require_numbers(numbers, len(every), "piece", "pieces")
    return [every[number] for number in numbers]


def _require_numbers(numbers: Iterable[int], count: int, one: str, many: str) -> None:
    for number in numbers:
        if not 0 <= number < count:
            raise TokenFlowError(
                "bad_request",
                f"The edit list has no {one} {number}.",
                f"Choose {many} within 0-{count - 1}.",
            )


def invert(
    job: JobFolder, part: Batch, mapping: PathMapping, run: RunRequest, report: StepReport
) -> dict[str, Any]:
    """Invert some frames of an edit into the job's cache; return what came of it.

    Raises:
        TokenFlowError: the strip was not extracted, the model is another one, or what the engine
            says.
    """
    first, end = part.frames
    whole = _request(job, part.edit, mapping)
    request = replace(whole, frames=part.frames, last_phase="invert")
    step = f"invert-{part.edit.name}-{first}-{end}"
    values = {k: v for k, v in request.to_json().items() if k not in _PATHS | _NOT_OF_INVERSION}
    values |= {"solver": request.solver, "steps": request.inversion_steps_taken}
    inputs = _inputs(job, part.edit, request, values)
    head = {"edit": part.edit.name, "frames": [first, end]}
    if (known := job.finished(step, inputs)) is not None:
        return {**head, "skipped": True, **known}
    report.begin(f"{part.edit.name} {first}:{end}")
    outputs = {"seconds": run(request, report.progress).seconds}
    job.finish(step, inputs, outputs)
    return {**head, "skipped": False, **outputs}


def render_piece(
    job: JobFolder, piece: EditPiece, mapping: PathMapping, run: RunRequest, report: StepReport
) -> dict[str, Any]:
    """Edit a piece into the job's cache; the last of an edit's pieces makes the edit whole.

    Raises:
        TokenFlowError: as for `invert`.
    """
    if piece.of == 1:
        return render(job, piece.edit, mapping, run, report)
    whole = _request(job, piece.edit, mapping)
    request = replace(whole, piece=piece.number, last_phase="edit")
    values = {k: v for k, v in request.to_json().items() if k not in _PATHS}
    inputs = _inputs(job, piece.edit, request, values)
    name = piece.edit.name
    head = {"edit": name, "piece": piece.number}
    known = job.finished(_piece_step(name, piece.number), inputs)
    outputs = known
    if outputs is None:
        report.begin(f"{name} {piece.number + 1}/{piece.of}")
        outputs = {"seconds": run(request, report.progress).seconds}
        job.finish(_piece_step(name, piece.number), inputs, outputs)
    if all(job.stamp(_piece_step(name, number)) for number in range(piece.of)):
        # Two pieces may end at once; the other worker is at it then, or has done it.
        with contextlib.suppress(StepTaken), job.only_process(f"join-{name}"):
            render(job, piece.edit, mapping, run, report)
    return {**head, "skipped": known is not None, **outputs}


def _piece_step(name: str, number: int) -> str:
    return f"piece-{name}-{number}"


def render(
    job: JobFolder, edit: ListedEdit, mapping: PathMapping, run: RunRequest, report: StepReport
) -> dict[str, Any]:
    """Make one edit; its frames appear whole in the job's folder. Return what came of it.

    Raises:
        TokenFlowError: as for `invert`.
    """
    request = _request(job, edit, mapping)
    values = {k: v for k, v in request.to_json().items() if k not in _PATHS}
    inputs = _inputs(job, edit, request, values)
    step, head = f"render-{edit.name}", {"edit": edit.name}
    known = job.finished(step, inputs)
    if known is not None and is_rendered(job, edit, known.get("frame_count")):
        return {**head, "skipped": True, **known}
    report.begin(edit.name)
    outputs = run(request, report.progress).to_json()
    job.finish(step, inputs, outputs)
    return {**head, "skipped": False, **outputs}


def is_rendered(job: JobFolder, edit: ListedEdit, count: object) -> bool:
    """Whether the edited frames lie in their place."""
    folder = job.edited(edit.name)
    return (folder / EDIT_FILE).is_file() and len(pictures_in(folder)) == count


def extracted(job: JobFolder, edit: ListedEdit) -> dict[str, Any]:
    """What extract left: {"content": hash of the pictures, "frame_count": ...}.

    Raises:
        TokenFlowError: code "bad_request", if it has not run, or its pictures are gone.
    """
    stamp = job.stamp(f"extract-{edit.name}")
    outputs = {} if stamp is None else stamp["outputs"]
    if stamp is None or len(pictures_in(job.frames(edit.name))) != outputs.get("frame_count"):
        raise TokenFlowError(
            "bad_request",
            f'The frames of "{edit.name}" are not in {job.frames(edit.name)}.',
            "Run the step extract first.",
        )
    return dict(outputs)


def _request(job: JobFolder, edit: ListedEdit, mapping: PathMapping) -> EditRequest:
    request = edit.request(job.frames(edit.name), job.edited(edit.name))
    if request.model != "embedded":
        request = replace(request, model=mapping(request.model))
    return request


def _inputs(job: JobFolder, edit: ListedEdit, request: EditRequest, values: dict[str, Any]) -> str:
    """Hash of all that a step depends on; the model is checked on the way."""
    found = _known_fingerprint(job, request.model)
    if edit.model_hash and edit.model_hash != found:
        raise TokenFlowError(
            "unknown_model",
            f'The model of "{edit.name}" in {model_path(request.model)} is not the one that the '
            "edit list was made with.",
            "Put that model there, or export the edit list again.",
            f"expected {edit.model_hash}, found {found}",
        )
    content = extracted(job, edit)["content"]
    return hash_of({"frames": content, "request": values, "model": found, "engine": __version__})


def _known_fingerprint(job: JobFolder, model: str) -> str:
    """The model's hash; every byte is read once for a job, not once for a task."""
    folder = model_path(model)
    files = model_files(folder)
    if not files:
        raise TokenFlowError(
            "unknown_model",
            f"There is no model at {folder}.",
            "Copy it there, or add a path mapping rule that leads to it.",
        )
    about = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in files]
    step = f"model-{hashlib.blake2b(str(folder).encode(), digest_size=6).hexdigest()}"
    inputs = hash_of({"files": about})
    known = job.finished(step, inputs)
    if known is None:
        known = {"fingerprint": fingerprint(folder)}
        job.finish(step, inputs, known)
    return str(known["fingerprint"])
