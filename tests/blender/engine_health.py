"""The doctor, the report and the cache in the preferences, with a real engine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import bpy
from engine_page import drawn
from project import EXTENSION, add_images, new_project, room


def _timer():
    return room("installation.task_timer")


def _finish(kind: str):
    deadline = time.monotonic() + 300
    while _timer().is_running(kind):
        _timer().poll_tasks()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return _timer().task(kind)


def _settings():
    return bpy.context.preferences.addons[EXTENSION].preferences


@contextmanager
def _without_engine() -> Iterator[None]:
    command = room("sequencer.engine_command")
    named, root = os.environ.pop("TOKENFLOW_ENGINE_PYTHON", None), command.PACKAGE_ROOT
    command.PACKAGE_ROOT = Path(os.devnull)
    try:
        yield
    finally:
        command.PACKAGE_ROOT = root
        if named:
            os.environ["TOKENFLOW_ENGINE_PYTHON"] = named


def test_the_doctor_says_what_the_engine_has(work: Path) -> None:
    _settings().cache_folder = str(work / "cache")
    assert bpy.ops.tokenflow.examine() == {"FINISHED"}
    assert not bpy.ops.tokenflow.examine.poll()
    assert "Looking at" in drawn()
    ended = _finish("doctor")
    assert ended.error is None, (ended.error, ended.remarks)
    shown = drawn()
    for check in ("Packages", "Device: cpu", "Embedded model", "ffmpeg", "Cache"):
        assert check in shown, shown
    assert "tokenflow.copy_system_report" in shown and "Open Log Folder" in shown


def test_an_edit_that_does_not_fit_is_offered_a_smaller_plan(work: Path) -> None:
    scene = new_project(1920, 1080)
    assert not bpy.ops.tokenflow.smaller_plan.poll(), "no strip"
    add_images()
    settings = scene.tokenflow
    settings.model_folder = str(work)
    settings.use_size, settings.size = True, (1920, 1080)
    settings.device, settings.dtype = "cuda", "float16"
    plan = room("sequencer.edit_estimate")
    assert plan.estimate(bpy.context).available is None
    assert not bpy.ops.tokenflow.smaller_plan.poll(), "nobody knows the memory"
    devices = [{"id": "cuda", "name": "GPU", "memory_mb": 8192}]
    _timer().follow("doctor", SimpleNamespace(result={"devices": devices}, running=False))
    try:
        before = plan.estimate(bpy.context)
        assert before.frames == 12 and before.needs.memory > before.available
        assert bpy.ops.tokenflow.smaller_plan() == {"FINISHED"}
        after = plan.estimate(bpy.context)
        assert after.needs.memory <= after.available == 8 << 30
        assert after.size[0] < 1920 and not bpy.ops.tokenflow.smaller_plan.poll()
    finally:
        _timer()._tasks.pop("doctor")


def test_without_an_engine_the_doctor_offers_to_install_it(work: Path) -> None:
    _timer().forget("doctor")
    with _without_engine():
        assert bpy.ops.tokenflow.examine() == {"FINISHED"}
        shown = drawn()
    assert "The engine that computes the edit is not installed." in shown
    assert "tokenflow.install_engine" in shown


def test_the_report_tells_all_but_secrets(work: Path) -> None:
    logs = room("installation.own_folders").log_folder()
    (logs / "engine.log").write_text("it broke at line 7\nHF token=hf_abcdefghijkl\n")
    _settings().package_index = "https://me:mypassword@index.example/simple"
    bpy.context.scene.tokenflow.prompt = "my secret film"
    try:
        text = room("operators.engine_health").report_of(bpy.context)
    finally:
        _settings().package_index = ""
    assert bpy.app.version_string in text and "Engine: " in text
    assert "it broke at line 7" in text and "guidance_scale: 7.5" in text
    for secret in ("mypassword", "hf_abcdefghijkl", "my secret film", str(Path.home())):
        assert secret not in text, secret
    assert bpy.ops.tokenflow.copy_system_report() == {"FINISHED"}


def test_the_cache_is_measured_and_cleared_but_nothing_beside_it(work: Path) -> None:
    kept = os.environ.pop("TOKENFLOW_CACHE", None)
    folder = work / "cache"
    entry = folder / "invert" / ("0" * 32)
    entry.mkdir(parents=True)
    (entry / "latents").write_bytes(b"x" * 2_000_000)
    (folder / "invert" / "holiday.txt").write_text("mine")
    _settings().cache_folder = str(folder)
    try:
        assert bpy.ops.tokenflow.cache_space() == {"FINISHED"}
        assert _finish("space").result["used"] == 2_000_004
        assert "2 MB in" in drawn()
        assert bpy.ops.tokenflow.cache_space(clear=True) == {"FINISHED"}
        assert _finish("space").result["used"] == 4
        assert (folder / "invert" / "holiday.txt").is_file()
    finally:
        _settings().cache_folder = ""
        _timer().forget("space")
        if kept:
            os.environ["TOKENFLOW_CACHE"] = kept


def test_the_engine_is_started_with_the_limits_of_the_preferences(work: Path) -> None:
    kept = os.environ.pop("TOKENFLOW_CACHE", None)
    settings = _settings()
    settings.idle_minutes, settings.cache_gigabytes, settings.cache_folder = 3, 7, str(work)
    try:
        command = room("sequencer.engine_command").engine_command()
    finally:
        settings.idle_minutes, settings.cache_gigabytes, settings.cache_folder = 10, 20, ""
        if kept:
            os.environ["TOKENFLOW_CACHE"] = kept
    assert command.arguments(work, 1)[-2:] == ["--idle-seconds", "180"]
    environment = command.environment()
    assert (environment["TOKENFLOW_CACHE"], environment["TOKENFLOW_CACHE_GB"]) == (str(work), "7")


def test_unloading_ends_the_engine_and_an_edit_starts_it_again(work: Path) -> None:
    assert bpy.ops.tokenflow.unload_engine.poll()
    assert bpy.ops.tokenflow.unload_engine() == {"FINISHED"}
