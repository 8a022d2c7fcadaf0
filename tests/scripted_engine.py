"""The real service with a scripted edit, for faults that a real edit does not commit on demand.

Run as a program it is an engine; `ScriptedEngine` is the command that starts it. What a job does
is the first word of its prompt, with the number that follows it; of its source prompt, if it has
one, so that a photographed panel shows a prompt as people write them.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.client.errors import Cancelled
from tokenflow_engine.client.launcher import EngineCommand
from tokenflow_engine.client.progress import CancelCheck, EditResult, Progress, ProgressCallback
from tokenflow_engine.command_line.serve import parse
from tokenflow_engine.service.engine import serve

ROOT = Path(__file__).resolve().parents[1]
STEP_SECONDS = 0.02


@dataclass(frozen=True)
class ScriptedEngine(EngineCommand):
    """Starts this file instead of `python -m tokenflow_engine serve`."""

    python: Path = Path(sys.executable)
    package_root: Path = ROOT

    def arguments(self, runtime: Path, owner_pid: int) -> list[str]:
        standard = super().arguments(runtime, owner_pid)
        after_serve = standard[standard.index("serve") + 1 :]
        return [standard[0], str(Path(__file__).resolve()), *after_serve]


def scripted_edit(
    request: EditRequest,
    *,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> EditResult:
    """Do what the prompt says: "steps N", "flood N", "hang", "raise", "memory", "exit N", "write".

    "write" leaves as many pictures as the source has, its own; "steps N" does as well where the
    source is a folder of pictures.
    """
    assert progress is not None and cancelled is not None
    action, _, argument = (request.source_prompt or request.prompt).partition(" ")
    number = int(argument or 0)
    if action == "raise":
        raise ZeroDivisionError("scripted")
    if action == "memory":
        raise MemoryError
    if action == "hang":
        progress(Progress("prepare", 0, 1))
        while True:
            time.sleep(1)
    if action == "exit":
        progress(Progress("prepare", 0, 1))
        print("these are my last words", file=sys.stderr, flush=True)
        time.sleep(0.1)
        os._exit(number)
    for phase in ("invert", "edit"):
        for done in range(1, number + 1):
            if cancelled():
                raise Cancelled
            progress(Progress(phase, done, number, eta_seconds=float(number - done)))
            if action == "steps":
                time.sleep(STEP_SECONDS)
    pictures = sorted(Path(request.source).glob("*.png"))
    if action in ("write", "steps") and pictures:
        number = len(pictures)
        shutil.copytree(request.source, request.output)
    size = (64, 64)
    if pictures:
        # Width and height stand first in a PNG's header.
        size = struct.unpack(">II", pictures[0].read_bytes()[16:24])
    return EditResult(
        output=request.output,
        frame_count=number,
        width=size[0],
        height=size[1],
        fps=None,
        seconds={"invert": 0.0, "edit": 0.0},
        warnings=("scripted",),
    )


def leave_trace() -> None:
    """In place of freeing a model: the service runs in its runtime folder."""
    Path("released").touch()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(serve(replace(parse(sys.argv[1:]), grace_seconds=0.5), scripted_edit, leave_trace))
