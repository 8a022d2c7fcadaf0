"""The part of the preferences about models: those on this disk, and one from the hub."""

from __future__ import annotations

import bpy
from bpy.types import AddonPreferences, Context, UILayout

from ..installation.task import TaskProgress, TaskState
from ..installation.task_timer import MODEL, task
from ..operators.models import (
    TOKENFLOW_OT_cancel_model,
    TOKENFLOW_OT_configure_model,
    TOKENFLOW_OT_describe_model,
    TOKENFLOW_OT_fetch_model,
    TOKENFLOW_OT_remove_model,
    TOKENFLOW_OT_use_model,
    described_model,
    lacks_configuration,
    local_models,
)
from ..tokenflow_engine.client.spoken import spoken_bytes
from .wrapped_text import draw_wrapped


def draw_models(layout: UILayout, context: Context, settings: AddonPreferences) -> None:
    box = layout.box()
    box.label(text="Models", icon="ASSET_MANAGER")
    found = local_models()
    for folder in found:
        row = box.row()
        row.label(text=folder.name.replace("--", "/"))
        if lacks_configuration(folder):
            fetching = row.operator(TOKENFLOW_OT_configure_model.bl_idname, icon="IMPORT")
            fetching.file = str(folder)
        else:
            row.operator(TOKENFLOW_OT_use_model.bl_idname).name = folder.name
        remove = row.operator(TOKENFLOW_OT_remove_model.bl_idname, text="", icon="TRASH")
        remove.name = folder.name
    if not found:
        draw_wrapped(
            box,
            context,
            "Edits use the small demonstration model that comes with the add-on. Download a Stable "
            "Diffusion 1 or 2 model for anything else, or choose a folder or file in the sidebar.",
        )
    column = box.column()
    column.use_property_split = True
    column.prop(settings, "hub_model", placeholder="OWNER/NAME")
    column.prop(settings, "models_folder", placeholder="In the add-on's own folder")
    _draw_task(box, context)


def _draw_task(box: UILayout, context: Context) -> None:
    told = task(MODEL)
    if told is not None and told.running:
        box.progress(factor=told.progress.share, text=_spoken(told.progress))
        box.operator(TOKENFLOW_OT_cancel_model.bl_idname, icon="CANCEL")
        return
    if told is not None and told.state is TaskState.FAILED and told.error is not None:
        draw_wrapped(box, context, told.error.message, alert=True)
        draw_wrapped(box, context, told.error.remedy)
    about = described_model()
    if about is not None:
        size = spoken_bytes(int(str(about["size"])))
        draw_wrapped(
            box,
            context,
            f"{about['id']}: {size} to download. Licence: {about['licence']}. By downloading it "
            "you accept the licence.",
        )
    if not bpy.app.online_access:
        draw_wrapped(box, context, "Models are downloaded only with Blender's online access on.")
    buttons = box.row()
    buttons.operator(TOKENFLOW_OT_describe_model.bl_idname, icon="VIEWZOOM")
    buttons.operator(TOKENFLOW_OT_fetch_model.bl_idname, icon="IMPORT")


def _spoken(progress: TaskProgress) -> str:
    if not progress.total:
        return "Asking the hub..."
    return f"Downloading, {spoken_bytes(progress.done)} of {spoken_bytes(progress.total)}"
