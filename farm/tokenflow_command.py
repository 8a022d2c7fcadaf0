"""The verbs of `--command tokenflow` for any Blender, also one without the add-on installed.

    blender -b SHOT.blend --python-exit-code 1 -P farm/tokenflow_command.py -- VERB ...
    PYTHON_WITH_BPY farm/tokenflow_command.py -b SHOT.blend -- VERB ...

The add-on is the one that this file lies in, so that a farm needs one copy on shared storage. It is
enabled for this run only.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path

import bpy

# Only bpy makes this one importable, so the two are not in alphabetical order.
import addon_utils  # isort: skip

ADDON_FOLDER = Path(__file__).resolve().parents[1]
REPOSITORY = "tokenflow_farm"
MODULE = f"bl_ext.{REPOSITORY}.tokenflow_edit"


def enable(folder: Path) -> None:
    """Have Blender see the add-on as an extension of a repository of its own, in `folder`.

    An installed copy of the add-on is disabled for this run: both would want the same names.
    """
    link = folder / "tokenflow_edit"
    if sys.platform == "win32":
        # Symbolic links need a privilege there, junctions do not.
        import _winapi

        _winapi.CreateJunction(str(ADDON_FOLDER), str(link))
    else:
        link.symlink_to(ADDON_FOLDER, target_is_directory=True)
    for name in [name for name in sys.modules if name.endswith(".tokenflow_edit")]:
        addon_utils.disable(name, default_set=False)
    repos = bpy.context.preferences.extensions.repos
    repos.new(name=REPOSITORY, module=REPOSITORY, custom_directory=str(folder))
    if addon_utils.enable(MODULE, default_set=False) is None:
        raise RuntimeError(f"the add-on in {ADDON_FOLDER} cannot be enabled")


def main(arguments: list[str]) -> int:
    ours = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not bpy.app.binary_path and before[1:2] == ["-b"] and len(before) > 2:
        # As a Python module, Blender reads no command line of its own.
        bpy.ops.wm.open_mainfile(filepath=before[2])
    with tempfile.TemporaryDirectory(prefix="tokenflow_") as folder:
        enable(Path(folder))
        try:
            return int(importlib.import_module(f"{MODULE}.operators.command_line").main(ours))
        finally:
            addon_utils.disable(MODULE, default_set=False)


if __name__ == "__main__":
    status = 1
    try:
        status = main(sys.argv)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Blender as a module may hang while the interpreter cleans up after it.
        os._exit(status)
