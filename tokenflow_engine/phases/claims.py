"""Which process uses an entry of the cache, said by files beside it.

An engine that evicts sees what others read; what a dead process left no longer counts.
"""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from pathlib import Path

import psutil

FOREIGN_CLAIM_SECONDS = 24 * 3600
"""How long a claim of another machine holds, whose processes can't be looked at."""


def mark() -> str:
    """A name for this process and moment, such as "render01-4711-5f3a9c2e"."""
    host = re.sub(r"\W", "_", socket.gethostname())
    return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def is_held(path: Path) -> bool:
    """Whether the process that `path`, named NAME.MARK.SUFFIX, belongs to may still need it."""
    host, _, rest = path.suffixes[-2].removeprefix(".").rpartition("-")[0].rpartition("-")
    if host == re.sub(r"\W", "_", socket.gethostname()) and rest.isdigit():
        return psutil.pid_exists(int(rest))
    try:
        return time.time() - path.stat().st_mtime < FOREIGN_CLAIM_SECONDS
    except OSError:
        return False
