"""Buttons that describe, fetch, choose and remove models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import StringProperty
from bpy.types import Context, Event, Operator

from ..installation.own_folders import own_folder, preferences
from ..installation.task_timer import MODEL, follow, forget, is_running, task
from ..sequencer.compatibility import sequencer_scene
from ..sequencer.queue_timer import edit_queue
from ..tokenflow_engine.client.child_processes import remove_soon
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.single_file import (
    INDEX,
    SUFFIX,
    configuration_of,
    configuration_place,
)

if TYPE_CHECKING:
    from ..installation.task import Task

_models: list[Path] | None = None
_unconfigured: set[Path] = set()


def models_folder() -> Path:
    """Where fetched models are kept."""
    chosen = preferences()
    if chosen is not None and chosen.models_folder:
        return Path(bpy.path.abspath(chosen.models_folder))
    return own_folder("models")


def local_models() -> list[Path]:
    """Folders and single files of the models that are there, as of the last look at the disk."""
    return look_at_models() if _models is None else _models


def lacks_configuration(model: Path) -> bool:
    """Whether it is a single file that cannot be loaded yet, as of the last look at the disk."""
    return model in _unconfigured


def look_at_models() -> list[Path]:
    """Look at the disk again."""
    global _models, _unconfigured
    folder = models_folder()
    found = sorted(folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
    files = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    of_files = {configuration_place(file) for file in files}
    folders = [index.parent for index in found if not index.parent.name.startswith(".")]
    _models = [*(place for place in folders if place not in of_files), *files]
    _unconfigured = {file for file in files if configuration_of(file) is None}
    return _models


def _look_again(ended: Task) -> None:
    look_at_models()


class _OnTheHub:
    """An operator on the hub's model that the preferences name."""

    bl_options = {"INTERNAL"}
    verb = ""

    @classmethod
    def poll(cls: Any, context: Context) -> bool:
        chosen = preferences()
        if is_running(MODEL):
            reason = "A model is being looked at or fetched."
        elif not bpy.app.online_access:
            reason = "Online access is off: see Preferences > System > Network."
        elif chosen is None or "/" not in chosen.hub_model:
            reason = "Name a model first, as OWNER/NAME."
        else:
            return True
        cls.poll_message_set(reason)
        return False

    def execute(self: Any, context: Context) -> set[str]:
        chosen = preferences()
        if chosen is None:
            return {"CANCELLED"}
        arguments = [self.verb, chosen.hub_model.strip()]
        if self.verb == "fetch":
            arguments.append(str(models_folder()))
        return _have_engine(self, *arguments)


def _have_engine(operator: Operator, *arguments: str) -> set[str]:
    """Start one of the engine's verbs on models."""
    from ..installation.doctor import start_command
    from ..sequencer.engine_command import engine_command

    try:
        engine = engine_command()
    except TokenFlowError as error:
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    follow(MODEL, start_command(engine, "models", "--messages", *arguments), _look_again)
    return {"FINISHED"}


class TOKENFLOW_OT_describe_model(_OnTheHub, Operator):
    """Ask the hub for the model's size and licence; nothing is downloaded"""

    bl_idname = "tokenflow.describe_model"
    bl_label = "Size and Licence"
    verb = "describe"


class TOKENFLOW_OT_fetch_model(_OnTheHub, Operator):
    """Download the model; interrupted, it goes on where it was"""

    bl_idname = "tokenflow.fetch_model"
    bl_label = "Download Model"
    verb = "fetch"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not super().poll(context):
            return False
        if described_model() is None:
            cls.poll_message_set("Look at its size and licence first.")
            return False
        return True


class TOKENFLOW_OT_configure_model(Operator):
    """Fetch from the hub how a single file's networks are built: small files, put beside it"""

    bl_idname = "tokenflow.configure_model"
    bl_label = "Fetch Configuration"
    bl_options = {"INTERNAL"}

    file: StringProperty(options={"HIDDEN", "SKIP_SAVE"})
    edit_id: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: Context) -> bool:
        if is_running(MODEL):
            cls.poll_message_set("A model is being looked at or fetched.")
        elif not bpy.app.online_access:
            cls.poll_message_set("Online access is off: see Preferences > System > Network.")
        return not is_running(MODEL) and bpy.app.online_access

    def execute(self, context: Context) -> set[str]:
        edit = edit_queue().find(self.edit_id) if self.edit_id else None
        file = self.file or (edit.request.model if edit is not None else "")
        if not file:
            return {"CANCELLED"}
        self.report({"INFO"}, "The preferences show when the configuration is there; then retry")
        return _have_engine(self, "configure", file)


def described_model() -> dict[str, object] | None:
    """What the hub said of the model that the preferences name."""
    told, chosen = task(MODEL), preferences()
    if told is None or told.running or chosen is None:
        return None
    matches = told.result.get("id") == chosen.hub_model.strip()
    return told.result if matches and "licence" in told.result else None


class TOKENFLOW_OT_cancel_model(Operator):
    """Stop the download; what has arrived is kept for the next time"""

    bl_idname = "tokenflow.cancel_model"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not is_running(MODEL):
            cls.poll_message_set("No model is being fetched.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        forget(MODEL)
        return {"FINISHED"}


class _OnDisk:
    bl_options = {"INTERNAL"}

    name: StringProperty(
        name="Model", description="Name of the model's folder", options={"HIDDEN", "SKIP_SAVE"}
    )

    def folder(self) -> Path | None:
        return next((found for found in local_models() if found.name == self.name), None)


class TOKENFLOW_OT_use_model(_OnDisk, Operator):
    """Make the next edits with this model"""

    bl_idname = "tokenflow.use_model"
    bl_label = "Use"

    def execute(self, context: Context) -> set[str]:
        folder = self.folder()
        if folder is None:
            return {"CANCELLED"}
        sequencer_scene(context).tokenflow.model_folder = str(folder)
        self.report({"INFO"}, f"Edits are made with {self.name}")
        return {"FINISHED"}


class TOKENFLOW_OT_remove_model(_OnDisk, Operator):
    """Delete this model from the disk"""

    bl_idname = "tokenflow.remove_model"
    bl_label = "Remove Model"

    def invoke(self, context: Context, event: Event) -> set[str]:
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Delete the Model?",
            message=f"{self.name} is deleted from the disk.",
            confirm_text="Delete",
            icon="WARNING",
        )

    def execute(self, context: Context) -> set[str]:
        folder = self.folder()
        if folder is None:
            return {"CANCELLED"}
        doomed = [folder]
        if folder.suffix == SUFFIX and configuration_place(folder).is_dir():
            doomed.append(configuration_place(folder))
        for path in doomed:
            # Out of sight at once; gone as soon as the disk allows.
            hidden = path.with_name(f".{path.name}.removed")
            path.replace(hidden)
            remove_soon([hidden])
        look_at_models()
        return {"FINISHED"}


classes = (
    TOKENFLOW_OT_describe_model,
    TOKENFLOW_OT_fetch_model,
    TOKENFLOW_OT_configure_model,
    TOKENFLOW_OT_cancel_model,
    TOKENFLOW_OT_use_model,
    TOKENFLOW_OT_remove_model,
)
