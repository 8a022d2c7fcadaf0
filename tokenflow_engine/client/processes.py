"""Whether another process of this machine is still there."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def process_runs(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not count.

    On Windows the answer is always True: signal 0 would end the process there.
    """
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    try:
        # "1234 (name with ) and spaces) Z ..."; other systems have no such file.
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return True
    return state[:1] != ["Z"]
