"""Runs the checks of one file inside a Blender, and writes down how each ended.

    PYTHON-WITH-BPY inside.py CHECKS.py WORK RESULTS.json

The add-on is linked into an extension repository of the profile named by BLENDER_USER_RESOURCES.
Blender as a module may hang at exit, so that the process ends without one.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
import traceback
from pathlib import Path

import bpy
from project import enable_addon, end_all_edits, new_project


def run_checks(file: Path, work: Path, results: Path) -> dict[str, str]:
    """What each check raised, as text; empty for those that passed. Written down after each."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    checks = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = checks
    spec.loader.exec_module(checks)
    outcomes = {}
    for name, check in inspect.getmembers(checks, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        print("==", name, flush=True)
        folder = work / name
        folder.mkdir(parents=True)
        new_project()
        try:
            check(folder)
        except BaseException:
            outcomes[name] = traceback.format_exc()
        else:
            outcomes[name] = ""
        end_all_edits()
        results.write_text(json.dumps(outcomes))
    return outcomes


if __name__ == "__main__":
    checks_file, work_folder, results = map(Path, sys.argv[1:])
    outcome: dict[str, str] = {}
    try:
        enable_addon(Path(__file__).resolve().parents[2])
        outcome = run_checks(checks_file, work_folder, results)
    except BaseException:
        traceback.print_exc()
    print(bpy.app.version_string, {name: text or "passed" for name, text in outcome.items()})
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if outcome and not any(outcome.values()) else 1)
