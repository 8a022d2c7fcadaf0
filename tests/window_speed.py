"""Measures what the add-on costs a real Blender window while an edit runs.

    python3 run.py python -m tests.window_speed [--write]

Prints JSON; with --write it also writes docs/performance_window.md. The Blender is the one that the
variable BLENDER names, under Xvfb where there is no screen. The engine is the scripted one: what it
computes with costs the window nothing, and its reports come as often as a fast GPU's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.test_blender_window import DO, ENABLE, INSIDE, ROOT, run_blender, save
from tokenflow_engine.media.pictures import write_movie
from tokenflow_engine.toyworld import sample_clip

PAGE = ROOT / "docs" / "performance_window.md"
ROWS = {
    "tick_while_running": ("Tick while an edit runs", 2.0, 16.0),
    "tick_while_reading": ("Tick while strips are read", 2.0, 16.0),
    "tick_while_results_arrive": ("Tick while results arrive", 2.0, 16.0),
    "drawing_the_panel": ("Drawing the panel", 1.0, None),
    "rows_of_the_list": ("Bringing the list up to date", None, None),
}
"""Words, and the most that the median and the longest may be, in milliseconds."""


def measure(blender: str, seconds: float) -> dict[str, Any]:
    """Run the scenario in a Blender of its own; return its report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        clip = folder / "cone.mp4"
        chosen = {"shape": "cone", "look": "red", "ground": "grass", "sky": "blue"}
        write_movie(clip, list(sample_clip(11, "orbit", 8, 192, 192, **chosen).frames), 24)
        environment = {
            **os.environ,
            "TOKENFLOW_ENGINE_PYTHON": sys.executable,
            "BLENDER_USER_RESOURCES": str(folder / "profile"),
            "TMPDIR": str(folder / "tmp"),
            "TOKENFLOW_TEST_CLIP": str(clip),
            "TOKENFLOW_TEST_FOOTAGE": str(folder),
            "TOKENFLOW_TEST_SECONDS": str(seconds),
            "TOKENFLOW_SCREENSHOTS": str(folder),
        }
        startup = _told(
            [blender, "-b", "--factory-startup", "--python", INSIDE / "startup.py", "--", "10"],
            {**environment, "BLENDER_USER_RESOURCES": str(folder / "another profile")},
            "STARTUP ",
        )
        project = folder / "shot.blend"
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1600x1400x24 +extension GLX"]
        for command in (
            [blender, "-b", *DO, ENABLE],
            [blender, "-b", "--app-template", "Video_Editing", *DO, save(project)],
            [
                *([] if os.environ.get("DISPLAY") else screen),
                *(blender, "--enable-event-simulate", "-p", "0", "0", "1600", "1400"),
                *("--python-exit-code", "3", project, "--python", INSIDE / "window_speed.py"),
            ],
        ):
            code, said = run_blender(command, environment)
            if code:
                raise SystemExit(said)
    line = next(line for line in said.splitlines() if line.startswith("SPEED "))
    report: dict[str, Any] = json.loads(line.removeprefix("SPEED "))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load": load}
    return {**machine, "startup": startup, **report}


def _told(command: list[object], environment: dict[str, str], mark: str) -> dict[str, Any]:
    """The JSON in the line of a Blender's output that begins with the mark."""
    code, said = run_blender(command, environment)
    lines = [line for line in said.splitlines() if line.startswith(mark)]
    if not lines:
        raise SystemExit(f"{said}\nexit code {code}")
    return dict(json.loads(lines[0].removeprefix(mark)))


def page(report: dict[str, Any]) -> str:
    """The report as a page of the documentation."""
    lines = [
        "# What an edit costs the window",
        "",
        "Measured by `python3 run.py python -m tests.window_speed --write` in a real window of",
        f"Blender ({report['blender']}, under Xvfb with a software renderer),",
        f"{report['edits_in_queue']} edits of {report['frames_per_edit']} frames in the queue,",
        f"{report['cores']} cores, load {report['load']:.1f} while it ran. Milliseconds of the "
        "processor that the window's thread spent;",
        "in brackets by the clock, which other programs on the machine lengthen.",
        "",
        "| | calls | median | longest | allowed |",
        "|---|---|---|---|---|",
    ]
    for name, (words, median, longest) in ROWS.items():
        row = report[name]
        allowed = " / ".join(f"{limit:g}" for limit in (median, longest) if limit is not None)
        lines.append(
            f"| {words} | {row['calls']} | {row['median_ms']:.2f} ({row['median_wall_ms']:.2f}) "
            f"| {row['longest_ms']:.2f} ({row['longest_wall_ms']:.2f}) | {allowed} |"
        )
    click, startup = report["click"], report["startup"]
    lines += [
        "",
        f"A click on *TokenFlow Edit* takes {click['median_ms']:.1f} ms in the median, "
        f"{click['longest_ms']:.1f} ms at its longest:",
        "measuring the strip and writing the scene that a second Blender renders. A tick comes ten "
        "times a",
        "second, and only while an edit is under way.",
        "",
        "Enabling the add-on, as each start of Blender does, takes "
        f"{startup['median_ms']:.0f} ms in the median",
        f"of ten, {startup['longest_ms']:.0f} ms at its longest.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="window_speed", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} as well")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long an edit is watched")
    options = parser.parse_args()
    blender = os.environ.get("BLENDER")
    if not blender:
        raise SystemExit("Name a Blender with windows in the variable BLENDER.")
    report = measure(blender, options.seconds)
    print(json.dumps(report, indent=2))
    if options.write:
        PAGE.write_text(page(report), "utf-8")


if __name__ == "__main__":
    main()
