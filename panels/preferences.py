"""Edit > Preferences > Add-ons > TokenFlow Edit."""

from bpy.props import EnumProperty, StringProperty
from bpy.types import AddonPreferences, Context

from ..installation.own_folders import ADDON


class TokenFlowPreferences(AddonPreferences):
    bl_idname = ADDON

    engine_build: EnumProperty(
        name="Build",
        description="Which build of the engine is installed",
        items=(
            ("auto", "Automatic", "The build for what is found in this machine"),
            ("cpu", "CPU", "The smallest; for machines without a GPU that it could use"),
            ("cuda", "NVIDIA GPU", "With CUDA; needs NVIDIA's driver"),
            ("metal", "Apple GPU", "With Metal; for Apple processors"),
        ),
        default="auto",
    )
    package_index: StringProperty(
        name="Package Index",
        description="Address of a further index of Python packages, for a certain build of "
        "PyTorch: its page Get Started shows it after --index-url; empty for pip's own settings",
    )
    engine_python: StringProperty(
        name="Engine Python",
        description="Python of an environment that holds the engine's packages; "
        "empty to use the engine that is installed here",
        subtype="FILE_PATH",
    )
    frames_folder: StringProperty(
        name="Frames Folder",
        description="Where edited frames are written; empty for a folder beside the .blend",
        subtype="DIR_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )

    def draw(self, context: Context) -> None:
        # Seldom drawn: Blender's start does not wait for it.
        from .engine_page import draw_engine

        draw_engine(self.layout, context, self)
        column = self.layout.column()
        column.use_property_split = True
        column.prop(self, "frames_folder", placeholder="Beside the .blend")


classes = (TokenFlowPreferences,)
