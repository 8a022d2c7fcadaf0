"""Models in the preferences: described, fetched from a hub on loopback, used, removed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import bpy
from engine_page import drawn
from project import EXTENSION, room, served

ROOT = Path(__file__).resolve().parents[2]


def _finish():
    timer = room("installation.task_timer")
    deadline = time.monotonic() + 300
    while timer.is_running("model"):
        timer.poll_tasks()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return timer.task("model")


def test_a_model_is_described_fetched_used_and_removed(work: Path) -> None:
    settings = bpy.context.preferences.addons[EXTENSION].preferences
    shutil.copytree(ROOT / "tests" / "golden" / "pipeline", work / "repository")
    settings.models_folder = str(work / "models")
    settings.hub_model = "studio/small"
    models = room("operators.models")
    assert models.look_at_models() == []
    assert not bpy.ops.tokenflow.describe_model.poll(), "online access is off"
    bpy.context.preferences.system.use_online_access = True
    try:
        with served("model_hub.py", work / "repository") as address:
            os.environ["HF_ENDPOINT"] = address
            assert not bpy.ops.tokenflow.fetch_model.poll(), "size and licence come first"
            assert bpy.ops.tokenflow.describe_model() == {"FINISHED"}
            assert _finish().error is None
            assert "Licence: openrail" in drawn() and "to download" in drawn()
            assert not list((work / "models").glob("*"))
            assert bpy.ops.tokenflow.fetch_model() == {"FINISHED"}
            ended = _finish()
            assert ended.error is None, ended.error
        (folder,) = models.local_models()
        assert folder.name == "studio--small" and "studio/small" in drawn()
        assert bpy.ops.tokenflow.use_model(name=folder.name) == {"FINISHED"}
        assert bpy.context.scene.tokenflow.model_folder == str(folder)
        assert bpy.ops.tokenflow.remove_model(name=folder.name) == {"FINISHED"}
        assert not folder.exists() and models.local_models() == []
    finally:
        os.environ.pop("HF_ENDPOINT", None)
        settings.models_folder = ""
        bpy.context.preferences.system.use_online_access = False
        room("installation.task_timer").forget("model")


def test_a_single_file_is_listed_configured_used_and_removed(work: Path) -> None:
    settings = bpy.context.preferences.addons[EXTENSION].preferences
    settings.models_folder = str(work)
    file = work / "dreamy.safetensors"
    file.write_bytes(b"weights")
    models = room("operators.models")
    try:
        assert models.look_at_models() == [file]
        assert models.lacks_configuration(file)
        assert "dreamy.safetensors" in drawn()
        assert not bpy.ops.tokenflow.configure_model.poll(), "online access is off"
        bpy.context.preferences.system.use_online_access = True
        assert bpy.ops.tokenflow.configure_model(file=str(file)) == {"FINISHED"}
        assert "can't be read as a model" in _finish().error.message
        (work / "dreamy").mkdir()
        (work / "dreamy" / "model_index.json").write_text("{}")
        assert models.look_at_models() == [file] and not models.lacks_configuration(file)
        assert bpy.ops.tokenflow.use_model(name=file.name) == {"FINISHED"}
        assert bpy.context.scene.tokenflow.model_folder == str(file)
        assert bpy.ops.tokenflow.remove_model(name=file.name) == {"FINISHED"}
        assert models.local_models() == []
        assert not file.exists() and not (work / "dreamy").exists()
    finally:
        settings.models_folder = ""
        bpy.context.preferences.system.use_online_access = False
        room("installation.task_timer").forget("model")
