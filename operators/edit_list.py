"""Export Edit List: what a script or a render farm is to do."""

import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import EnumProperty, StringProperty
from bpy.types import Context, Event, Operator
from bpy_extras.io_utils import ExportHelper

from ..sequencer.compatibility import sequencer_scene
from ..tokenflow_engine.client.errors import TokenFlowError

if TYPE_CHECKING:
    from ..sequencer.project_edits import ProjectEdit
    from ..tokenflow_engine.client.edit_list import EditList

_SECONDS_BETWEEN_TICKS = 0.02
_SECONDS_PER_TICK = 0.01


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
        from ..sequencer.project_edits import kept_edits, selected

        self.filepath = str(Path(bpy.data.filepath).with_suffix(".edits.json"))
        if not any(strip.tokenflow.request for _scene, strip in selected(context)):
            self.which = "MADE" if kept_edits() else "SELECTED"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.project_edits import listed

        try:
            edits = listed(self._edits(context))
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        # Hashing a large model takes seconds, in which the window must stay alive.
        self._writing = self._write(edits)
        if bpy.app.background or context.window is None:
            return self._go_on(float("inf"))
        manager = context.window_manager
        self._timer = manager.event_timer_add(_SECONDS_BETWEEN_TICKS, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> set[str]:
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        outcome = self._go_on(_SECONDS_PER_TICK)
        if "RUNNING_MODAL" in outcome:
            return {"PASS_THROUGH"}
        context.window_manager.event_timer_remove(self._timer)
        return outcome

    def _write(self, edits: "EditList") -> Generator[None, None, str]:
        """Write the file; returns what to tell the user."""
        from ..sequencer.project_edits import hashing_models

        file = Path(bpy.path.abspath(self.filepath))
        complete = yield from hashing_models(edits)
        complete.write(file)
        return f"{len(edits.edits)} edits are listed in {file.name}"

    def _go_on(self, seconds: float) -> set[str]:
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                next(self._writing)
        except StopIteration as end:
            self.report({"INFO"}, end.value)
            return {"FINISHED"}
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"RUNNING_MODAL"}

    def _edits(self, context: Context) -> "list[ProjectEdit]":
        from ..sequencer.project_edits import kept_edits, new_edits, selected

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
