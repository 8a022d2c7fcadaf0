"""An `edit.json` dropped into the Sequencer, or chosen in a dialog."""

from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty
from bpy.types import Context, Event, FileHandler, Operator
from bpy_extras.io_utils import ImportHelper

from ..sequencer.compatibility import sequencer_scene
from ..sequencer.settings import keep_request
from ..tokenflow_engine.client.errors import TokenFlowError


class TOKENFLOW_OT_open_edit_file(ImportHelper, Operator):
    """Fill in the settings that an edit.json was made with, or make that edit again"""

    bl_idname = "tokenflow.open_edit_file"
    bl_label = "Open edit.json"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".json"
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})
    action: EnumProperty(
        name="Then",
        description="What to do with the settings",
        items=(
            ("FILL", "Fill In Settings", "Show them in the panel, to change or to start by hand"),
            ("AGAIN", "Make It Again", "Fill them in and start the edit of the strip at once"),
        ),
        default="FILL",
    )

    def invoke(self, context: Context, event: Event) -> set[str]:
        if not self.filepath:
            return ImportHelper.invoke(self, context, event)
        # It was dropped: there is nothing left to choose but what to do with it.
        return context.window_manager.invoke_props_dialog(self, confirm_text="Open")

    def draw(self, context: Context) -> None:
        layout = self.layout
        layout.label(text=Path(self.filepath).name, icon="FILE", translate=False)
        layout.prop(self, "action", expand=True)

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.edit_file import read_edit_file, source_made_into
        from ..sequencer.takes import select_only

        file = Path(bpy.path.abspath(self.filepath))
        try:
            request = read_edit_file(file)
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        scene = sequencer_scene(context)
        keep_request(scene.tokenflow, request)
        found = source_made_into(file.parent)
        if found is not None and found[0] == scene:
            select_only(*found)
        if self.action == "AGAIN":
            if not bpy.ops.tokenflow.edit_strip.poll():
                self.report(
                    {"WARNING"}, "The settings are filled in. Select a strip, then start the edit."
                )
                return {"FINISHED"}
            return bpy.ops.tokenflow.edit_strip("INVOKE_DEFAULT")
        self.report({"INFO"}, f"The settings of {file.name} are filled in")
        return {"FINISHED"}


class TOKENFLOW_FH_edit_file(FileHandler):
    bl_idname = "TOKENFLOW_FH_edit_file"
    bl_label = "TokenFlow Edit"
    bl_import_operator = TOKENFLOW_OT_open_edit_file.bl_idname
    bl_file_extensions = ".json"

    @classmethod
    def poll_drop(cls, context: Context) -> bool:
        return context.area is not None and context.area.type == "SEQUENCE_EDITOR"


classes = (TOKENFLOW_OT_open_edit_file, TOKENFLOW_FH_edit_file)
