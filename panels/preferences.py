"""Edit > Preferences > Add-ons > TokenFlow Edit."""

from bpy.props import EnumProperty, FloatProperty, IntProperty, StringProperty
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
    hub_model: StringProperty(
        name="Hub Model",
        description="A Stable Diffusion 1 or 2 model on the Hugging Face hub, as OWNER/NAME",
        default="stable-diffusion-v1-5/stable-diffusion-v1-5",
    )
    models_folder: StringProperty(
        name="Model Folder",
        description="Where downloaded models are kept; empty for the add-on's own folder",
        subtype="DIR_PATH",
    )
    idle_minutes: IntProperty(
        name="Unload After (min)",
        description="Minutes without an edit after which the model is taken out of memory",
        default=10,
        min=0,
        soft_max=120,
    )
    cache_folder: StringProperty(
        name="Cache Folder",
        description="Where results are kept for a second prompt; empty for the usual place",
        subtype="DIR_PATH",
    )
    cache_gigabytes: FloatProperty(
        name="Cache Limit (GB)",
        description="Gigabytes that the cache may take before what was unused for longest goes",
        default=20.0,
        min=0.0,
        soft_max=500.0,
        precision=0,
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
        from .health_page import draw_doctor, draw_memory_and_disk
        from .models_page import draw_models

        draw_engine(self.layout, context, self)
        draw_models(self.layout, context, self)
        draw_doctor(self.layout, context)
        draw_memory_and_disk(self.layout, context, self)


classes = (TokenFlowPreferences,)
