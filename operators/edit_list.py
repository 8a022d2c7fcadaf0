"""Export Edit List: what a script or a render farm is to do."""

import threading
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty
from bpy.types import Context, Event, Operator
from bpy_extras.io_utils import ExportHelper

from ..sequencer.compatibility import sequencer_scene
from ..sequencer.project_edits import (
    ProjectEdit,
    kept_edits,
    listed,
    new_edits,
    selected,
    with_model_hashes,
)
from ..tokenflow_engine.client.edit_list import EditList
from ..tokenflow_engine.client.errors import TokenFlowError

_SECONDS_BETWEEN_LOOKS = 0.1


class _Writing(threading.Thread):
    """Hashes the models, which takes seconds for large ones, and writes the file."""

    def __init__(self, edits: EditList, file: Path) -> None:
        super().__init__(daemon=True)
        self._edits = edits
        self._file = file
        self.error: TokenFlowError | None = None

    def run(self) -> None:
        try:
            with_model_hashes(self._edits).write(self._file)
        except TokenFlowError as error:
            self.error = error
        except OSError as error:
            self.error = TokenFlowError(
                "unknown_model",
                "A model could not be read.",
                "Check that its files are there and may be opened.",
                str(error),
            )


class TOKENFLOW_OT_export_edit_list(Operator, ExportHelper):
    """Write a JSON file that the command line and render farms make the same edits from"""

    bl_idname = "tokenflow.export_edit_list"
    bl_label = "Export Edit List"

    filename_ext = ".json"
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})
    which: EnumProperty(
        name="Edits",
        description="Which edits to write",
        items=(
            ("MADE", "All Made", "Every edit whose result lies in this project, as it was made"),
            ("SELECTED", "Selected Strips", "A new edit of each selected strip, as the panel says"),
        ),
        default="MADE",
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        scene = sequencer_scene(context)
        if scene is None or scene.sequence_editor is None:
            cls.poll_message_set("There are no strips.")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> set[str]:
        self.filepath = str(Path(bpy.data.filepath).with_suffix(".edits.json"))
        if not any(strip.tokenflow.request for _scene, strip in selected(context)):
            self.which = "MADE" if kept_edits() else "SELECTED"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Context) -> set[str]:
        try:
            edits = listed(self._edits(context))
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._count = len(edits.edits)
        self._file = Path(bpy.path.abspath(self.filepath))
        self._writing = _Writing(edits, self._file)
        self._writing.start()
        if bpy.app.background or context.window is None:
            self._writing.join()
            return self._end()
        manager = context.window_manager
        self._timer = manager.event_timer_add(_SECONDS_BETWEEN_LOOKS, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> set[str]:
        if event.type != "TIMER" or self._writing.is_alive():
            return {"PASS_THROUGH"}
        context.window_manager.event_timer_remove(self._timer)
        return self._end()

    def _end(self) -> set[str]:
        if self._writing.error is not None:
            self.report({"ERROR"}, str(self._writing.error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"{self._count} edits are listed in {self._file.name}")
        return {"FINISHED"}

    def _edits(self, context: Context) -> list[ProjectEdit]:
        if self.which == "MADE":
            found = kept_edits()
            remedy = "Edit a strip first, or choose Selected Strips."
        else:
            sources = [pair for pair in selected(context) if not pair[1].tokenflow.request]
            found = new_edits(sources, {})
            remedy = "Select the strips to edit."
        if not found:
            raise TokenFlowError("bad_request", "There is no edit to export.", remedy)
        return found


classes = (TOKENFLOW_OT_export_edit_list,)
