"""What `torch.compile` costs and saves: the trial of `phases.compiling`, beside its clock."""

from __future__ import annotations

from typing import Any

from ..phases.compiling import (
    COMPILING_SECONDS,
    SHARE_SAVED,
    compile_blocks,
    seconds_compiled,
    seconds_per_frame,
)
from ..phases.run import EditRun
from .timing import time_of


def measure_compiling(run: EditRun) -> dict[str, Any]:
    """Seconds of compiling with an empty cache and with a kept one, and of calls before and after.

    run: an edit whose `cache.compiled` is empty. The kept cache is tried in this process, which has
    the compiler loaded; a new one has to load it as well.
    """
    device = run.model.device
    _, first = time_of(lambda: compile_blocks(run), device)
    _, again = time_of(lambda: compile_blocks(run), device)
    before, after = seconds_per_frame(run), seconds_compiled(run)
    return {
        "size": run.size,
        "chunk": run.request.chunk,
        "compiling_seconds": first.to_json(),
        "compiling_seconds_kept": again.to_json(),
        "seconds_per_frame": before,
        "seconds_per_frame_compiled": after,
        "saved": 1 - after / before,
        "assumed": {"saved": SHARE_SAVED, "compiling_seconds": COMPILING_SECONDS},
    }
