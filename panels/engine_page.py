"""The part of the preferences that is about the engine: its state and what can be done."""

from __future__ import annotations

import bpy
from bpy.types import AddonPreferences, Context, UILayout

from ..installation.engine_install import LARGER_THAN_TOLD, spoken_progress
from ..installation.engine_state import EngineState
from ..installation.task import Task, TaskState
from ..installation.task_timer import INSTALL, installed_engine, task
from ..operators.engine_installation import (
    TOKENFLOW_OT_cancel_install,
    TOKENFLOW_OT_install_engine,
    TOKENFLOW_OT_remove_engine,
    chosen_build,
)
from ..tokenflow_engine.client.spoken import spoken_bytes
from .wrapped_text import draw_wrapped

_TEXTS = {
    EngineState.NOT_INSTALLED: (
        "Not installed",
        "The engine computes the edits. It is installed into a folder of the add-on's own, never "
        "into Blender.",
        "Install Engine",
        "IMPORT",
    ),
    EngineState.INTERRUPTED: (
        "Interrupted",
        "Installing was interrupted. It goes on where it was: what has arrived is kept.",
        "Go On Installing",
        "PAUSE",
    ),
    EngineState.READY: ("Ready", "", "Install Again", "CHECKMARK"),
    EngineState.BROKEN: (
        "Broken",
        "The Python that the engine was installed with is gone, perhaps with an older Blender.",
        "Repair",
        "ERROR",
    ),
    EngineState.UPDATE_AVAILABLE: (
        "Update available",
        "This version of the add-on comes with newer packages. Until they are installed it uses "
        "the ones that are there.",
        "Update Engine",
        "FILE_REFRESH",
    ),
}
"""Heading, sentence, the button's text and the icon for each state."""


def draw_engine(layout: UILayout, context: Context, settings: AddonPreferences) -> None:
    box = layout.box()
    running = task(INSTALL)
    if running is not None and running.running:
        _draw_installing(box, running)
        return
    engine = installed_engine()
    heading, sentence, label, icon = _TEXTS[engine.state]
    box.label(text=f"Engine: {heading}", icon=icon)
    if sentence:
        draw_wrapped(box, context, sentence)
    if running is not None and running.state is TaskState.FAILED:
        _draw_failure(box, context, running)
    if settings.engine_python:
        draw_wrapped(box, context, "The Python named below is used instead of this engine.")
    if engine.state is not EngineState.READY:
        build = chosen_build()
        draw_wrapped(
            box,
            context,
            f"Build for {build.title}: about {spoken_bytes(build.download)} to download, "
            f"{spoken_bytes(build.disk)} on the disk.",
        )
    if not bpy.app.online_access:
        draw_wrapped(
            box, context, "Installing downloads packages, and Blender's online access is off."
        )
        box.operator("extensions.userpref_show_online", text="Open Network Preferences")
    both = engine.state not in (EngineState.READY, EngineState.NOT_INSTALLED)
    buttons = box.split(factor=0.75) if both else box.row()
    if engine.state is not EngineState.READY:
        buttons.scale_y = 1.3
        buttons.operator(TOKENFLOW_OT_install_engine.bl_idname, text=label, icon="IMPORT")
    if engine.state is not EngineState.NOT_INSTALLED:
        buttons.operator(TOKENFLOW_OT_remove_engine.bl_idname, text="Remove", icon="TRASH")
    heading, more = box.panel("tokenflow_engine_choices", default_closed=True)
    heading.label(text="Build and Python")
    if more is not None:
        more.use_property_split = True
        more.prop(settings, "engine_build")
        more.prop(settings, "package_index", placeholder="As pip is set up")
        more.prop(settings, "engine_python", placeholder="The engine installed here")


def _draw_installing(box: UILayout, running: Task) -> None:
    box.label(text="Engine: Installing", icon="SORTTIME")
    plan = running.facts.get("plan")
    if plan:
        what = f"{plan['packages']} packages, {spoken_bytes(plan['bytes'])}"
        box.label(text=f"{what}, {plan['torch']}" if plan["torch"] else what)
    progress = running.progress
    box.progress(factor=progress.share, text=spoken_progress(progress))
    box.operator(TOKENFLOW_OT_cancel_install.bl_idname, icon="CANCEL")


def _draw_failure(box: UILayout, context: Context, ended: Task) -> None:
    error = ended.error
    if error is None:
        return
    draw_wrapped(box, context, error.message, alert=True)
    draw_wrapped(box, context, error.remedy)
    if error.code == LARGER_THAN_TOLD:
        size = int(error.details)
        again = box.operator(
            TOKENFLOW_OT_install_engine.bl_idname, text=f"Download {spoken_bytes(size)}"
        )
        again.megabytes = size // 10**6 + 1
