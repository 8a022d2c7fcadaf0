"""What the sentence beside an error proposes, as a button: an error carries its remedy."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import bpy
from bpy.props import StringProperty
from bpy.types import Context, Event, Operator

from ..installation.own_folders import own_folder
from ..sequencer.compatibility import sequencer_scene
from ..sequencer.queue_timer import edit_queue
from ..sequencer.stage import Stage
from ..sequencer.strip_identity import is_open
from ..tokenflow_engine.client.edit_request import LATENT_CELL
from ..tokenflow_engine.client.errors import TokenFlowError
from .running_edit import OfOneEdit

if TYPE_CHECKING:
    from ..sequencer.strip_edit import StripEdit

_ADDON = __package__.rpartition(".")[0]
_SMALLEST_SIDE = 64
_SHRINK = 0.75


class RemedyButton(NamedTuple):
    """An operator to draw beside an error."""

    operator: str
    text: str
    icon: str


def remedies(error: TokenFlowError, edit: "StripEdit | None") -> list[RemedyButton]:
    """The buttons for an error, the likeliest remedy first.

    edit: the edit that failed; None for a click that began none.
    """
    return list(_remedies(error, edit))


def _remedies(error: TokenFlowError, edit: "StripEdit | None") -> Iterator[RemedyButton]:
    if error.code == "engine_missing" or "preferences" in error.remedy:
        yield RemedyButton("tokenflow.show_preferences", "Open Preferences", "PREFERENCES")
    if error.code == "no_configuration" and edit is not None:
        yield RemedyButton("tokenflow.configure_model", "Fetch Configuration", "IMPORT")
    if error.code in ("unknown_model", "unsafe_model", "no_configuration", "unknown_words"):
        yield RemedyButton("tokenflow.choose_model", "Choose Model", "FILE_FOLDER")
    if edit is None:
        if error.code == "no_space":
            yield RemedyButton("tokenflow.choose_folder", "Choose Folder", "FILE_FOLDER")
    elif edit.stage is Stage.UNPLACED:
        yield from _remedies_of_unplaced(edit)
    elif edit.stage.can_be_retried:
        smaller = smaller_size(edit)
        if error.code in ("out_of_memory", "engine_lost") and smaller is not None:
            text = f"Retry at {smaller[0]} x {smaller[1]}"
            yield RemedyButton("tokenflow.retry_smaller", text, "FULLSCREEN_EXIT")
        if error.code == "no_space" or "folder" in error.remedy.lower():
            yield RemedyButton("tokenflow.choose_folder", "Choose Folder", "FILE_FOLDER")
        if error.code in ("unreadable_source", "bad_request"):
            yield RemedyButton("tokenflow.select_source", "Show Strip", "RESTRICT_SELECT_OFF")
        yield RemedyButton("tokenflow.retry_edit", "Retry", "FILE_REFRESH")
    if error.code in ("engine_lost", "internal"):
        yield RemedyButton("tokenflow.open_logs", "Open Log", "TEXT")
    yield RemedyButton("tokenflow.copy_report", "Copy Report", "COPYDOWN")


def _remedies_of_unplaced(edit: "StripEdit") -> Iterator[RemedyButton]:
    if edit.blend and not is_open(edit.blend):
        name = Path(edit.blend).name
        yield RemedyButton("tokenflow.open_project", f"Open {name}", "FILE_BLEND")
    yield RemedyButton("tokenflow.place_result", "Place Result", "SEQUENCE")
    yield RemedyButton("tokenflow.open_frames", "Reveal Folder", "FILE_FOLDER")


def smaller_size(edit: "StripEdit") -> tuple[int, int] | None:
    """Three quarters of the edit's size, fit for the model; None where that is too small."""
    width, height = edit.request.size or edit.frames.size
    smaller = (_shrunk(width), _shrunk(height))
    return smaller if min(smaller) >= _SMALLEST_SIDE else None


def _shrunk(side: int) -> int:
    return int(side * _SHRINK) // LATENT_CELL * LATENT_CELL


class TOKENFLOW_OT_show_preferences(Operator):
    """Open the preferences of this add-on"""

    bl_idname = "tokenflow.show_preferences"
    bl_label = "Open Preferences"
    bl_options = {"INTERNAL"}

    def execute(self, context: Context) -> set[str]:
        return bpy.ops.preferences.addon_show(module=_ADDON)


class TOKENFLOW_OT_retry_smaller(OfOneEdit, Operator):
    """Make this edit again at three quarters of its size, which needs about half of the memory"""

    bl_idname = "tokenflow.retry_smaller"
    bl_label = "Retry Smaller"

    def execute(self, context: Context) -> set[str]:
        edit = self.edit()
        size = None if edit is None else smaller_size(edit)
        if edit is None or size is None:
            return {"CANCELLED"}
        request = replace(edit.request, size=size)
        return self.attempt(lambda: edit_queue().retry(edit, request))


class _ChoosesFolder(OfOneEdit):
    """Asks for a folder, writes it into the scene's settings and makes the edit again with it."""

    directory: StringProperty(
        name="Folder",
        description="The folder that is chosen",
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: Context, event: Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def settle(
        self: Any, context: Context, setting: str, changed: Callable[["StripEdit"], Any]
    ) -> set[str]:
        """changed: gives the request with the folder in it."""
        from ..sequencer.delivery import source_of

        edit = self.edit() if self.edit_id else None
        found = None if edit is None else source_of(edit)
        scene = sequencer_scene(context) if found is None else found[0]
        setattr(scene.tokenflow, setting, self.directory)
        if edit is None or not edit.stage.can_be_retried:
            edit_queue().refusal = None
            return {"FINISHED"}
        return self.attempt(lambda: edit_queue().retry(edit, changed(edit)))


class TOKENFLOW_OT_choose_folder(_ChoosesFolder, Operator):
    """Choose where the edited frames of this scene are written, then make the edit again"""

    bl_idname = "tokenflow.choose_folder"
    bl_label = "Choose Folder"

    def execute(self, context: Context) -> set[str]:
        def changed(edit: "StripEdit") -> Any:
            request = edit.request
            folder = Path(self.directory).absolute()
            return replace(request, output=str(folder / Path(request.output).name))

        return self.settle(context, "frames_folder", changed)


class TOKENFLOW_OT_choose_model(_ChoosesFolder, Operator):
    """Choose the folder or .safetensors file that this scene is edited with, then edit again"""

    bl_idname = "tokenflow.choose_model"
    bl_label = "Choose Model"

    filepath: StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors", options={"HIDDEN"})

    def execute(self, context: Context) -> set[str]:
        if self.filepath and Path(self.filepath).is_file():
            self.directory = self.filepath

        def changed(edit: "StripEdit") -> Any:
            return replace(edit.request, model=str(Path(self.directory).absolute()))

        return self.settle(context, "model_folder", changed)


class TOKENFLOW_OT_select_source(OfOneEdit, Operator):
    """Select the strip that this edit was made of"""

    bl_idname = "tokenflow.select_source"
    bl_label = "Show Strip"
    bl_options = {"INTERNAL", "UNDO"}

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.delivery import source_of

        edit = self.edit()
        found = None if edit is None else source_of(edit)
        if found is None:
            self.report({"ERROR"}, "The strip is not in this project any more.")
            return {"CANCELLED"}
        scene, strip = found
        for other in scene.sequence_editor.strips_all:
            other.select = False
        strip.select = True
        scene.sequence_editor.active_strip = strip
        self.report({"INFO"}, f'"{strip.name}" of {scene.name} is selected')
        return {"FINISHED"}


class TOKENFLOW_OT_open_project(OfOneEdit, Operator):
    """Open the project that this edit belongs to; Blender asks first where changes are not saved"""

    bl_idname = "tokenflow.open_project"
    bl_label = "Open Project"

    def execute(self, context: Context) -> set[str]:
        edit = self.edit()
        if edit is None or not Path(edit.blend).is_file():
            self.report({"ERROR"}, "The project's file was moved or never saved. Open it yourself.")
            return {"CANCELLED"}
        bpy.ops.wm.open_mainfile("INVOKE_DEFAULT", filepath=edit.blend, display_file_selector=False)
        return {"FINISHED"}


class TOKENFLOW_OT_open_logs(Operator):
    """Show the folder with what the engine has printed"""

    bl_idname = "tokenflow.open_logs"
    bl_label = "Open Log"
    bl_options = {"INTERNAL"}

    def execute(self, context: Context) -> set[str]:
        return bpy.ops.wm.path_open(filepath=str(own_folder("logs")))


class TOKENFLOW_OT_copy_report(OfOneEdit, Operator):
    """Copy the error with all its details to the clipboard"""

    bl_idname = "tokenflow.copy_report"
    bl_label = "Copy Report"

    def execute(self, context: Context) -> set[str]:
        edit = self.edit() if self.edit_id else None
        error = edit_queue().refusal if edit is None else edit.error
        if error is None:
            return {"CANCELLED"}
        context.window_manager.clipboard = report_of(error, edit)
        self.report({"INFO"}, "The report is on the clipboard")
        return {"FINISHED"}


def report_of(error: TokenFlowError, edit: "StripEdit | None") -> str:
    """Everything that a developer asks for first: error, versions, request, the engine's words."""
    parts = [
        f"{error.code}: {error}",
        f"Blender {bpy.app.version_string}, {bpy.app.build_platform.decode(errors='replace')}",
    ]
    if edit is not None:
        request = edit.request.to_json()
        parts += [f"{name}: {value}" for name, value in request.items() if value not in ("", None)]
    return "\n".join([*parts, "", error.details])


classes = (
    TOKENFLOW_OT_show_preferences,
    TOKENFLOW_OT_retry_smaller,
    TOKENFLOW_OT_choose_folder,
    TOKENFLOW_OT_choose_model,
    TOKENFLOW_OT_select_source,
    TOKENFLOW_OT_open_project,
    TOKENFLOW_OT_open_logs,
    TOKENFLOW_OT_copy_report,
)
