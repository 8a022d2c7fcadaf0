"""The built zip in an empty profile: installed, used, taken away again.

    PYTHON-WITH-BPY installed_package.py SOURCE WORK [edit]

SOURCE is the zip, or the URL of a repository that offers it. The profile is the one named by
BLENDER_USER_RESOURCES. The checks build on each other, so that the first failure ends the run. The
process ends without an exit, at which Blender as a module may hang.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import bpy
from project import EXTENSION, add_images, new_project, room
from registration import traces

IDENTITY = EXTENSION.rpartition(".")[2]


def install(source: str) -> Path:
    """Install and enable; return the add-on's folder."""
    if source.endswith(".zip"):
        bpy.ops.extensions.package_install_files(
            filepath=source, repo="user_default", enable_on_install=True
        )
    else:
        # Blender asks for this even where the repository is a folder of this machine.
        bpy.context.preferences.system.use_online_access = True
        (index,) = (n for n, r in enumerate(repositories()) if r.module == "user_default")
        repositories()[index].use_remote_url = True
        repositories()[index].remote_url = source
        bpy.ops.extensions.repo_sync(repo_index=index)
        bpy.ops.extensions.package_install(
            repo_index=index, pkg_id=IDENTITY, enable_on_install=True
        )
    folder = Path(sys.modules[EXTENSION].__file__).parent
    assert folder.is_relative_to(os.environ["BLENDER_USER_RESOURCES"]), folder
    assert not folder.is_symlink()
    return folder


def repositories() -> bpy.types.bpy_prop_collection:
    return bpy.context.preferences.extensions.repos


def check_content(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    unwanted = {"tests", "training", "docs", "demo", "dist", "out", "run.py", "pyproject.toml"}
    assert not names & unwanted, names & unwanted
    assert {"LICENSE", "tokenflow_engine", "operators", "panels", "sequencer"} <= names
    assert [file.name for file in (folder / "requirements").glob("engine.*")] == ["engine.lock"]
    found = [f for f in folder.rglob("*") if f.suffix in (".whl", ".so", ".pyd", ".dll")]
    assert not found, found


def check_reasons() -> None:
    """The button says why it is grey: no strip, then no prompt."""
    scene = new_project()
    assert scene.tokenflow.steps == 25
    assert not bpy.ops.tokenflow.edit_strip.poll()
    assert "elect" in refusal(), refusal()
    add_images()
    assert "prompt is empty" in refusal(), refusal()
    scene.tokenflow.prompt = "a blue ball on grass"
    assert bpy.ops.tokenflow.edit_strip.poll()


def refusal() -> str:
    """What Blender says when the operator cannot be called."""
    try:
        bpy.ops.tokenflow.edit_strip()
    except RuntimeError as error:
        return str(error)
    raise AssertionError("it was called all the same")


def check_panels(folder: Path) -> None:
    panels = [
        cls for cls in bpy.types.Panel.__subclasses__() if cls.__module__.startswith(EXTENSION)
    ]
    assert {cls.__name__ for cls in panels} >= {"TOKENFLOW_PT_edit", "TOKENFLOW_PT_presets"}
    assert all(cls.is_registered for cls in panels)
    presets = room("sequencer.preset_list")
    presets.show_presets(bpy.context)
    assert "Oil Painting" in bpy.context.window_manager.tokenflow_presets.rows
    preferences = bpy.context.preferences.addons[EXTENSION].preferences
    assert preferences.engine_python == ""
    assert folder.resolve() == room("installation.own_folders").PACKAGE_ROOT


def check_edit(work: Path) -> None:
    """Three frames, two steps, with the model and the engine's code out of the zip."""
    strip = bpy.context.scene.sequence_editor.active_strip
    setattr(strip, "right_handle" if hasattr(strip, "right_handle") else "frame_final_end", 4)
    settings = bpy.context.scene.tokenflow
    settings.steps = settings.inversion_steps = 2
    settings.use_size, settings.size = True, (64, 64)
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))
    assert bpy.ops.tokenflow.edit_strip() == {"FINISHED"}
    assert "images TokenFlow" in bpy.context.scene.sequence_editor.strips
    assert len(list((work / "shot_tokenflow").rglob("*.png"))) == 3


def uninstall(folder: Path) -> None:
    (index,) = (n for n, r in enumerate(repositories()) if r.module == "user_default")
    bpy.ops.extensions.package_uninstall(repo_index=index, pkg_id=IDENTITY)
    assert not folder.exists()
    assert EXTENSION not in bpy.context.preferences.addons
    assert not [name for name in sys.modules if "tokenflow" in name]


def run(source: str, work: Path, *, with_edit: bool) -> None:
    assert EXTENSION not in sys.modules
    before = traces()
    folder = install(source)
    during = traces()
    assert during["types"] > before["types"]
    assert during["properties"] != before["properties"] and during["menus"] != before["menus"]
    check_content(folder)
    check_panels(folder)
    check_reasons()
    if with_edit:
        check_edit(work)
    new_project()
    uninstall(folder)
    left = traces()
    assert left == before, {name: (before[name], left[name]) for name in left}


if __name__ == "__main__":
    code = 1
    try:
        run(sys.argv[1], Path(sys.argv[2]), with_edit="edit" in sys.argv[3:])
        print(bpy.app.version_string, "PASSED")
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
