"""The verb `edit` on one strip. What an option leaves out is as the panel shows it."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
from bpy.types import Strip

from ...sequencer.compatibility import left_handle
from ...sequencer.project_copy import copy_path, save_copy
from ...sequencer.project_edits import preset_values
from ...sequencer.queue_timer import edit_queue
from ...sequencer.settings import request_template
from ...sequencer.source_strip import named_strip
from ...sequencer.stage import Stage
from ...sequencer.strip_edit import StripEdit
from ...tokenflow_engine.client.progress import EditResult
from ...tokenflow_engine.client.step_report import StepReport
from .arguments import given_options


def edit_and_save(options: argparse.Namespace) -> dict[str, Any]:
    """Make the edit and save a copy of the open .blend; return what lies where.

    Raises:
        TokenFlowError: the edit failed, or the copy could not be saved.
    """
    blend = copy_path(options.output_blend)
    scene, source = named_strip(bpy.context, options.strip)
    given = {**preset_values(options.preset), **given_options(options)}
    template = replace(request_template(scene.tokenflow), **given)
    output = None if options.output is None else Path(options.output).absolute()
    queue = edit_queue()
    started = time.monotonic()
    edit = queue.start(scene, source, template, here=True, output=output)
    strip = queue.run_to_end(edit, _progress_lines())
    save_copy(blend)
    if edit.result is None:
        raise RuntimeError("a finished edit has a result")
    return _report(strip, edit.strip_name, edit.result, blend, time.monotonic() - started)


def _progress_lines() -> Any:
    report = StepReport()

    def show(edit: StripEdit) -> None:
        if edit.progress is not None and edit.stage in (Stage.READING, Stage.ENGINE):
            report.progress(edit.progress)

    return show


def _report(
    strip: Strip, source: str, result: EditResult, blend: Path, seconds: float
) -> dict[str, Any]:
    return {
        "blend": str(blend),
        "source_strip": source,
        "strip": strip.name,
        "channel": strip.channel,
        "frame_start": left_handle(strip),
        "total_seconds": round(seconds, 3),
        **result.to_json(),
    }
