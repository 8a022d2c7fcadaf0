"""The engine's part of the preferences: its states, and what its buttons do and refuse."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import bpy
from project import EXTENSION, room, served

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from package_index import write_wheel


@contextmanager
def small_engine(work: Path) -> Iterator[Path]:
    """An engine of one tiny package, served on loopback; yields where it is installed to."""
    environments = room("requirements.environments")
    install = room("installation.engine_install")
    timer = room("installation.task_timer")
    programs = work / "requirements"
    programs.mkdir()
    for name in ("environments.py", "wheels.py", "install_engine.py"):
        shutil.copy(environments.LOCKS / name, programs)
    (programs / "engine.lock").write_text("grass==1.0\n")
    (programs / "engine-cuda.lock").write_text("")
    (work / "wheels").mkdir()
    write_wheel(work / "wheels", "grass", "1.0")
    kept = environments.LOCKS, install.PROGRAM, dict(os.environ)
    environments.LOCKS, install.PROGRAM = programs, programs / "install_engine.py"
    bpy.context.preferences.system.use_online_access = True
    folder = room("installation.own_folders").engines_folder()
    try:
        with served("package_index.py", work / "wheels") as address:
            os.environ.update(PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL=address)
            os.environ.update(PIP_FIND_LINKS="", PIP_NO_CACHE_DIR="1")
            timer.refresh_engine()
            yield folder
    finally:
        timer.forget("install")
        environments.LOCKS, install.PROGRAM = kept[:2]
        os.environ.clear()
        os.environ.update(kept[2])
        shutil.rmtree(folder, ignore_errors=True)
        bpy.context.preferences.system.use_online_access = False


def _state() -> str:
    return room("installation.task_timer").refresh_engine().state.name


def _wait(kind: str = "install") -> SimpleNamespace:
    timer = room("installation.task_timer")
    deadline = time.monotonic() + 300
    while timer.is_running(kind):
        timer.poll_tasks()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return timer.task(kind)


def test_it_goes_from_nothing_to_ready_and_back_by_its_buttons(work: Path) -> None:
    with small_engine(work) as folder:
        assert _state() == "NOT_INSTALLED"
        assert bpy.ops.tokenflow.install_engine() == {"FINISHED"}
        assert not bpy.ops.tokenflow.install_engine.poll(), "one at a time"
        ended = _wait()
        assert ended.error is None, ended.error
        assert _state() == "READY"
        python = room("installation.task_timer").installed_engine().python
        assert python.is_file() and python.is_relative_to(folder)
        # The add-on starts this engine when nobody names another.
        named = os.environ.pop("TOKENFLOW_ENGINE_PYTHON", None)
        command = room("sequencer.engine_command")
        root, command.PACKAGE_ROOT = command.PACKAGE_ROOT, work
        try:
            assert command.engine_command().python == python
        finally:
            command.PACKAGE_ROOT = root
            if named:
                os.environ["TOKENFLOW_ENGINE_PYTHON"] = named
        (folder / python.relative_to(folder).parts[0] / "pyvenv.cfg").write_text("home = /gone\n")
        assert _state() == "BROKEN"
        assert bpy.ops.tokenflow.remove_engine() == {"FINISHED"}
        assert _state() == "NOT_INSTALLED"


def test_cancelled_it_is_interrupted_and_an_older_one_is_up_for_an_update(work: Path) -> None:
    with small_engine(work) as folder:
        bpy.ops.tokenflow.install_engine()
        timer = room("installation.task_timer")
        deadline = time.monotonic() + 120
        while not list(folder.glob("engine-*/pyvenv.cfg")):
            timer.poll_tasks()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert bpy.ops.tokenflow.cancel_install() == {"FINISHED"}
        assert not timer.is_running("install") and _state() == "INTERRUPTED"
        shutil.rmtree(folder)

        older = folder / "engine-00000000"
        inside = older / ("Scripts" if sys.platform == "win32" else "bin")
        inside.mkdir(parents=True)
        (inside / ("python.exe" if sys.platform == "win32" else "python")).touch()
        (older / "pyvenv.cfg").write_text(f"home = {work}\n")
        (older / "tokenflow-locks.json").write_text('{"engine": "an older lock"}')
        assert _state() == "UPDATE_AVAILABLE"
        assert timer.installed_engine().python.is_relative_to(older)


def test_without_online_access_nothing_is_downloaded(work: Path) -> None:
    assert not bpy.app.online_access
    assert not bpy.ops.tokenflow.install_engine.poll()
    assert room("installation.task_timer").task("install") is None
    assert hasattr(bpy.ops.extensions, "userpref_show_online")


class _Layout:
    """Stands where Blender's layout would, which a Blender without windows does not give."""

    def __init__(self, texts: list[str]) -> None:
        self.__dict__["texts"] = texts

    def __getattr__(self, name: str):
        def draw(*arguments: object, **keywords: object) -> object:
            self.texts.append(str(keywords.get("text", arguments[-1] if arguments else "")))
            return (
                (_Layout(self.texts), _Layout(self.texts))
                if name == "panel"
                else _Layout(self.texts)
            )

        return draw

    def __setattr__(self, name: str, value: object) -> None:
        pass


def drawn() -> str:
    """Every text that the preferences would show."""
    texts: list[str] = []
    settings = bpy.context.preferences.addons[EXTENSION].preferences
    region = SimpleNamespace(width=2000)
    # Without a window the scale is 0.
    system = SimpleNamespace(ui_scale=1.0)
    context = SimpleNamespace(preferences=SimpleNamespace(system=system), region=region)
    cls = type(settings)
    stand_in = SimpleNamespace(layout=_Layout(texts))
    for name in cls.__annotations__:
        setattr(stand_in, name, getattr(settings, name))
    cls.draw(stand_in, context)
    return "\n".join(texts)


def test_the_page_says_what_it_costs_and_why_it_cannot(work: Path) -> None:
    shown = drawn()
    assert "Engine: Not installed" in shown
    assert "to download" in shown and "on the disk" in shown
    assert "online access is off" in shown and "Open Network Preferences" in shown
