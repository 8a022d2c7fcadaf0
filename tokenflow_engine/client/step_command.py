"""Arguments of the steps, the same in Blender, for the engine alone and in a farm's templates."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .edit_list import EditList, ListedEdit, read_edit_list
from .edit_steps import batches, chosen_pieces, invert, parts, render, render_piece
from .errors import TokenFlowError
from .job_folder import JobFolder
from .launcher import EngineCommand
from .path_mapping import PathMapping, read_path_mapping
from .step_engine import StepEngine
from .step_report import StepReport

ENGINE_STEPS = {
    "invert": "turn frames into noise, into the job's cache (GPU; any frames, in any order)",
    "render": "make the edits themselves (GPU)",
}
_MAX_RANGE = 10_000_000


def add_step_arguments(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of one step: which job, which of its edits, and how to speak."""
    option = parser.add_argument
    option("--job", type=Path, required=True, metavar="DIR", help="folder of the job's results")
    option(
        "--edit-list",
        type=Path,
        metavar="FILE",
        help="what to do; default edit_list.json in the job's folder",
    )
    if verb != "assemble":
        option("--name", action="append", metavar="NAME", help="only this edit; may be repeated")
        option("--number", type=numbers, metavar="RANGE", help="only these edits, from 0: 0-3,7")
    if verb == "invert":
        option("--batches", type=numbers, metavar="RANGE", help="only these batches of all edits")
    if verb == "render":
        option("--pieces", type=numbers, metavar="RANGE", help="only these pieces of all edits")
    option(
        "--path-mapping", type=Path, metavar="FILE", help="Open Job Description's pathmapping-1.0"
    )
    option("--openjd", action="store_true", help="report in Open Job Description's lines")
    option("--json", action="store_true", help="print one JSON object last")


def step_inputs(options: argparse.Namespace) -> tuple[JobFolder, EditList, PathMapping]:
    """The job that the arguments name.

    Raises:
        TokenFlowError: the edit list or the path mapping cannot be read.
    """
    job = JobFolder(options.job.absolute())
    mapping = read_path_mapping(options.path_mapping)
    return job, read_edit_list(options.edit_list or job.edit_list), mapping


def chosen_edits(options: argparse.Namespace, listed: EditList) -> list[ListedEdit]:
    """The edits that the arguments choose, all without a choice.

    Raises:
        TokenFlowError: code "bad_request", for one that is not in the list.
    """
    if options.name:
        return [listed.edit(name) for name in options.name]
    if options.number is None:
        return list(listed.edits)
    for number in options.number:
        if number >= len(listed.edits):
            raise TokenFlowError(
                "bad_request",
                f"The edit list has no edit {number}.",
                f"Choose within 0-{len(listed.edits) - 1}.",
            )
    return [listed.edits[number] for number in options.number]


def run_engine_step(
    verb: str, options: argparse.Namespace, command: EngineCommand, report: StepReport
) -> dict[str, Any]:
    """Invert or render what the arguments choose; return what was done and what was skipped.

    Raises:
        TokenFlowError: the first thing that goes wrong; what was finished before it stays.
    """
    job, listed, mapping = step_inputs(options)
    edits = chosen_edits(options, listed)
    done = []
    with StepEngine(command) as engine:
        if verb == "render" and options.pieces is not None:
            for piece in chosen_pieces(EditList(tuple(edits)), options.pieces):
                done.append(render_piece(job, piece, mapping, engine.run, report))  # noqa: PERF401
        elif verb == "render":
            for edit in edits:
                done.append(render(job, edit, mapping, engine.run, report))  # noqa: PERF401
        else:
            chosen = EditList(tuple(edits))
            which = options.batches
            for part in parts(chosen, range(len(batches(edits))) if which is None else which):
                done.append(invert(job, part, mapping, engine.run, report))  # noqa: PERF401
    return step_report(verb, job, done)


def step_report(verb: str, job: JobFolder, done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The JSON that every step ends with."""
    skipped = sum(bool(each["skipped"]) for each in done)
    return {
        "step": verb,
        "job": str(job.root),
        "made": len(done) - skipped,
        "skipped": skipped,
        "results": list(done),
    }


def spoken_report(report: dict[str, Any]) -> str:
    """For example "render: 3 made, 1 was there already"."""
    return f"{report['step']}: {report['made']} made, {report['skipped']} there already"


def numbers(text: str) -> list[int]:
    """Whole numbers out of "3", "0-5" or "0-2,7", as Open Job Description writes ranges.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    found: list[int] = []
    for part in text.split(","):
        first, separator, last = part.strip().partition("-")
        if not first.isdecimal() or (separator and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0-5 or 0-2,7")
        end = int(last) if separator else int(first)
        if end < int(first) or end - int(first) > _MAX_RANGE:
            raise argparse.ArgumentTypeError(f"the range {part!r} is empty or too long")
        found.extend(range(int(first), end + 1))
    return sorted(set(found))
