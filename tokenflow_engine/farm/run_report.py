"""What a run on a farm leaves for people: report.json and report.md in the job's folder."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..client.edit_list import read_edit_list
from ..client.edit_steps import EDIT_FILE
from ..client.job_folder import JobFolder
from .task_session import TaskOutcome


def summary(outcomes: Sequence[TaskOutcome], seconds: float) -> dict[str, Any]:
    """Seconds are of the wall; busy ones are added over all workers."""
    steps: dict[str, list[TaskOutcome]] = defaultdict(list)
    for outcome in outcomes:
        steps[outcome.step].append(outcome)
    return {
        "succeeded": all(outcome.succeeded for outcome in outcomes),
        "seconds": round(seconds, 1),
        "steps": {
            name: {
                "tasks": len(of_step),
                "failed": sum(not o.succeeded for o in of_step),
                "busy_seconds": round(sum(o.ended - o.started for o in of_step), 1),
                "workers": len({(o.host, o.process) for o in of_step if o.process}),
            }
            for name, of_step in steps.items()
        },
        "tasks": [asdict(outcome) for outcome in outcomes],
    }


def write_report(folder: JobFolder, report: dict[str, Any], lost: Sequence[str] = ()) -> Path:
    """Write report.json and report.md; return the latter.

    lost: names of workers that went away while the job ran.
    """
    report = {**report, "workers_lost": list(lost), "edits": _edits(folder)}
    (folder.root / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    file = folder.root / "report.md"
    file.write_text(markdown(report), encoding="utf-8")
    return file


def _edits(folder: JobFolder) -> list[dict[str, Any]]:
    found = []
    for edit in read_edit_list(folder.edit_list).edits:
        about: dict[str, Any] = {"name": edit.name, "prompt": edit.settings.get("prompt", "")}
        try:
            made = json.loads((folder.edited(edit.name) / EDIT_FILE).read_text(encoding="utf-8"))
            result = made["result"]
        except (OSError, ValueError, KeyError):
            found.append(about)
            continue
        about |= {key: result.get(key) for key in ("frame_count", "stability", "seconds")}
        about["warnings"] = result.get("warnings", [])
        found.append(about)
    return found


def markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    ended = "All edits are assembled." if report["succeeded"] else "Not everything was done."
    lines = ["# Report of the job", "", f"{ended} It took {report['seconds']:g} s."]
    if report["workers_lost"]:
        lines += ["", f"Workers lost on the way: {len(report['workers_lost'])}."]
    lines += ["", "| step | tasks | failed | busy seconds | workers |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {s['tasks']} | {s['failed']} | {s['busy_seconds']:g} | {s['workers']} |"
        for name, s in report["steps"].items()
    ]
    lines += ["", "| edit | prompt | frames | stability |", "|---|---|---|---|"]
    lines += [
        f"| {e['name']} | {e['prompt']} | {e.get('frame_count', 'missing')} "
        f"| {e.get('stability') or ''} |"
        for e in report["edits"]
    ]
    failures = [task for task in report["tasks"] if not task["succeeded"]]
    for task in failures[:10]:
        lines += ["", f"**{task['step']} {task['values'] or ''}**: {task['message']}"]
    warnings = [f"- {e['name']}: {w}" for e in report["edits"] for w in e.get("warnings", [])]
    return "\n".join([*lines, *([""] if warnings else []), *warnings]) + "\n"
