"""Blender as a Python module, called as the program is: [-b] [FILE] ... -P SCRIPT -- ARGUMENTS."""

from __future__ import annotations

import runpy
import sys

import bpy

if __name__ == "__main__":
    arguments = sys.argv[1:]
    before = arguments[: arguments.index("--")]
    files = [argument for argument in before if argument.endswith(".blend")]
    if files:
        bpy.ops.wm.open_mainfile(filepath=files[0])
    runpy.run_path(before[before.index("-P") + 1], run_name="__main__")
