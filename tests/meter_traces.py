"""Record what a real edit reports to its meter, and play it again.

`python3 run.py python tests/meter_traces.py FILE` records; seconds are the process's own, so that
other programs on the machine leave no trace.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tokenflow_engine.client.progress import Progress  # noqa: E402
from tokenflow_engine.phases.meter import ProgressMeter, Units  # noqa: E402

TRACES = Path(__file__).parent / "traces"
FRAMES, SIZE, STEPS = 12, 96, 20


class RecordingMeter(ProgressMeter):
    """Keeps each call with its time."""

    calls: list[list[Any]]

    def __init__(self, *given: Any) -> None:
        super().__init__(*given, clock=time.process_time)
        self.calls = []

    def plan(self, phase: str, units: Units) -> None:
        self.calls.append(["plan", phase, units if isinstance(units, int) else dict(units)])
        super().plan(phase, units)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.calls.append(["phase", name, round(time.process_time(), 4)])
        with super().phase(name):
            yield
        self.calls.append(["end", name, round(time.process_time(), 4)])

    def advance(self, units: int = 1, kind: str = "") -> None:
        self.calls.append(["advance", units, kind, round(time.process_time(), 4)])
        super().advance(units, kind)


def record(file: Path) -> None:
    """Write the trace of an edit by the embedded model."""
    import torch

    from tokenflow_engine import EditRequest
    from tokenflow_engine.media.pictures import write_numbered
    from tokenflow_engine.phases import edit_run
    from tokenflow_engine.toyworld.clips import sample_clip

    torch.set_num_threads(1)
    meters: list[RecordingMeter] = []

    def meter(*given: Any) -> RecordingMeter:
        meters.append(RecordingMeter(*given))
        return meters[-1]

    edit_run.ProgressMeter = meter  # type: ignore[assignment, misc]
    with tempfile.TemporaryDirectory() as folder:
        drawn = sample_clip(11, "roll", FRAMES, SIZE, SIZE, look="red", shape="ball")
        clip = write_numbered(Path(folder) / "clip", drawn.frames)
        request = EditRequest(
            source=str(clip),
            prompt="a blue ball on grass under a blue sky",
            output=str(Path(folder) / "out"),
            steps=STEPS,
            inversion_steps=STEPS,
            chunk=4,
        )
        edit_run.edit(request)
    lines = ",\n".join(json.dumps(call) for call in meters[0].calls)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def replay(calls: list[list[Any]]) -> Iterator[tuple[Progress, float]]:
    """Every report that a fresh meter makes of a trace, and the time it was made at."""
    now = 0.0
    reports: list[Progress] = []
    meter = ProgressMeter({}, reports.append, clock=lambda: now)
    current: Any = None
    for name, *given in calls:
        if name == "plan":
            meter.plan(given[0], given[1])
        elif name == "phase":
            now = given[1]
            current = meter.phase(given[0])
            current.__enter__()
        elif name == "end":
            now = given[1]
            current.__exit__(None, None, None)
        else:
            now = given[2]
            meter.advance(given[0], given[1])
        while reports:
            yield reports.pop(0), now


if __name__ == "__main__":
    record(Path(sys.argv[1]))
