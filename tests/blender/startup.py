"""Measures what enabling the add-on costs, as at every start of Blender but the first.

    PYTHON-WITH-BPY tests/blender/startup.py [TURNS]
    BLENDER_USER_RESOURCES=FOLDER blender -b --python tests/blender/startup.py -- [TURNS]

Prints CPU milliseconds of enabling: of this process alone, so that a busy machine shows less. The
byte code is there already, as it is after an add-on's first start. A benchmark, not a test.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXTENSION = "bl_ext.user_default.tokenflow_edit"


def milliseconds(turns: int) -> list[float]:
    import bpy  # isort: skip - it is what makes the other one known
    import addon_utils

    repository = Path(bpy.utils.user_resource("EXTENSIONS", path="user_default", create=True))
    (repository / "tokenflow_edit").symlink_to(CHECKOUT, target_is_directory=True)
    # The first turn compiles, and loads what Blender itself needs for any extension.
    taken = []
    for turn in range(turns + 1):
        start = time.process_time()
        assert addon_utils.enable(EXTENSION, default_set=True) is not None
        if turn:
            taken.append(1000 * (time.process_time() - start))
        addon_utils.disable(EXTENSION, default_set=True)
    return taken


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as profile:
        # The program has looked for its profile already.
        if "bpy" not in sys.modules:
            os.environ["BLENDER_USER_RESOURCES"] = profile
        elif "BLENDER_USER_RESOURCES" not in os.environ:
            sys.exit("Name a folder for Blender's profile in the variable BLENDER_USER_RESOURCES.")
        sys.dont_write_bytecode = False
        sys.pycache_prefix = profile
        found = milliseconds(int(sys.argv[-1]) if sys.argv[-1].isdecimal() else 10)
        print(
            f"enabling: median {statistics.median(found):.0f} ms of CPU, least {min(found):.0f}, "
            f"most {max(found):.0f}, {len(found)} turns",
            flush=True,
        )
        report = {
            "median_ms": round(statistics.median(found), 1),
            "longest_ms": round(max(found), 1),
        }
        print("STARTUP " + json.dumps(report), flush=True)
    os._exit(0)
