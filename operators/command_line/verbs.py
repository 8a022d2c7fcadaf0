"""What each verb does; it returns one JSON object and one sentence for people."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

from ...sequencer.engine_command import engine_command
from ...sequencer.job_steps import assemble, extract
from ...sequencer.project_copy import copy_path
from ...sequencer.project_edits import (
    completed,
    described,
    every_strip,
    hashing_models,
    kept_edits,
    listed,
    new_edits,
    preset_values,
)
from ...sequencer.source_strip import named_strip
from ...tokenflow_engine.client.edit_list import EditList, read_edit_list
from ...tokenflow_engine.client.edit_steps import render
from ...tokenflow_engine.client.errors import TokenFlowError
from ...tokenflow_engine.client.job_folder import JobFolder
from ...tokenflow_engine.client.model_hash import result_of
from ...tokenflow_engine.client.path_mapping import PathMapping
from ...tokenflow_engine.client.step_command import (
    ENGINE_STEPS,
    chosen_edits,
    run_engine_step,
    spoken_report,
    step_inputs,
    step_report,
)
from ...tokenflow_engine.client.step_engine import StepEngine
from ...tokenflow_engine.client.step_report import StepReport
from .arguments import given_options
from .edit import edit_and_save

Outcome = tuple[dict[str, Any], str]


def _list(options: argparse.Namespace, report: StepReport) -> Outcome:
    strips = [described(*pair) for pair in every_strip()]
    lines = []
    for about in strips:
        what = f"{about['frame_count']} frames" if about["editable"] else about["reason"]
        lines.append(f"{about['scene']} / {about['strip']} (channel {about['channel']}): {what}")
    return {"blend": bpy.data.filepath, "strips": strips}, "\n".join(lines) or "No strips."


def _export(options: argparse.Namespace, report: StepReport) -> Outcome:
    if options.edit_list is not None:
        edits = completed(read_edit_list(options.edit_list))
    else:
        changes = {**preset_values(options.preset), **given_options(options)}
        if options.strip:
            pairs = [named_strip(bpy.context, name) for name in options.strip]
            edits = listed(new_edits(pairs, changes))
        else:
            edits = _kept(changes)
    edits = result_of(hashing_models(edits))
    edits.write(options.file.absolute())
    report_json = {"edit_list": str(options.file.absolute()), **edits.to_json()}
    return report_json, f"{len(edits.edits)} edits are listed in {options.file}"


def _kept(changes: dict[str, Any]) -> EditList:
    kept = kept_edits()
    if not kept:
        raise TokenFlowError(
            "bad_request",
            "This project holds no edits yet.",
            "Name the strips to edit with --strip.",
        )
    if changes:
        raise TokenFlowError(
            "bad_request",
            "The project's own edits are listed as they were made.",
            "Name strips with --strip to give them other settings.",
        )
    return listed(kept)


def _edit(options: argparse.Namespace, report: StepReport) -> Outcome:
    if options.edit_list is not None:
        return _edit_all(options, report)
    outcome = edit_and_save(options)
    warnings = [f"tokenflow: {warning}" for warning in outcome["warnings"]]
    done = f"{outcome['strip']} on channel {outcome['channel']}, saved in {outcome['blend']}"
    return outcome, "\n".join([*warnings, done])


def _edit_all(options: argparse.Namespace, report: StepReport) -> Outcome:
    """Every step of every edit, one after the other in this process."""
    if given_options(options) or options.preset or options.output:
        raise TokenFlowError(
            "bad_request",
            "An edit list holds its own settings.",
            "Leave out the edit's options, or use --strip.",
        )
    file: Path = options.edit_list.absolute()
    edits = completed(read_edit_list(file))
    job = JobFolder(options.job or file.with_name(f"{file.stem}_job"))
    edits.write(job.edit_list)
    blend = copy_path(options.output_blend, job.root)
    done = []
    with StepEngine(engine_command()) as engine:
        for edit in edits.edits:
            extract(job, edit, PathMapping(), report)
            done.append(render(job, edit, PathMapping(), engine.run, report))
    assembled = assemble(job, edits, blend, PathMapping(), report)
    outcome = step_report("edit", job, done) | {"assembled": assembled}
    return outcome, f"{spoken_report(outcome)}, saved in {blend}"


def _extract(options: argparse.Namespace, report: StepReport) -> Outcome:
    job, edits, mapping = step_inputs(options)
    done = [extract(job, edit, mapping, report) for edit in chosen_edits(options, edits)]
    outcome = step_report("extract", job, done)
    return outcome, spoken_report(outcome)


def _engine_step(options: argparse.Namespace, report: StepReport) -> Outcome:
    outcome = run_engine_step(options.verb, options, engine_command(), report)
    return outcome, spoken_report(outcome)


def _assemble(options: argparse.Namespace, report: StepReport) -> Outcome:
    job, edits, mapping = step_inputs(options)
    blend = copy_path(options.output_blend, job.root)
    outcome = step_report("assemble", job, [assemble(job, edits, blend, mapping, report)])
    return outcome, f"{spoken_report(outcome)}, saved in {blend}"


VERBS: dict[str, Callable[[argparse.Namespace, StepReport], Outcome]] = {
    "list": _list,
    "edit": _edit,
    "export": _export,
    "extract": _extract,
    **dict.fromkeys(ENGINE_STEPS, _engine_step),
    "assemble": _assemble,
}
