"""`tokenflow cache`: how much the kept results of phases take, and making room."""

from __future__ import annotations

import argparse
import shutil

from ..client.spoken import spoken_bytes
from ..phases.cache import PhaseCache, cache_root
from .messages import end_with_owner, say_done


def run(arguments: list[str]) -> int:
    """Print folder, size and free space; with --clear remove all entries first."""
    parser = argparse.ArgumentParser(prog="tokenflow cache", description=__doc__)
    parser.add_argument("--clear", action="store_true", help="remove every entry")
    parser.add_argument("--messages", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.messages:
        end_with_owner()
    root = cache_root()
    if given.clear:
        PhaseCache(root).clear()
    used = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free
    if given.messages:
        say_done(folder=str(root), used=used, free=free)
    else:
        print(f"{root}: {spoken_bytes(used)} used, {spoken_bytes(free)} free")
    return 0
