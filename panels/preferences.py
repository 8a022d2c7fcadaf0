"""Edit > Preferences > Add-ons > TokenFlow Edit."""

from bpy.props import StringProperty
from bpy.types import AddonPreferences, Context

from ..sequencer.engine_command import ADDON


class TokenFlowPreferences(AddonPreferences):
    bl_idname = ADDON

    engine_python: StringProperty(
        name="Engine Python",
        description="Python of the environment that holds the engine's packages; "
        "empty to use the one installed beside the add-on",
        subtype="FILE_PATH",
    )
    frames_folder: StringProperty(
        name="Frames Folder",
        description="Where edited frames are written; empty for a folder beside the .blend",
        subtype="DIR_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )

    def draw(self, context: Context) -> None:
        column = self.layout.column()
        column.use_property_split = True
        column.prop(self, "engine_python")
        column.prop(self, "frames_folder")


classes = (TokenFlowPreferences,)
