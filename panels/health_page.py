"""The parts of the preferences about the doctor, the devices, memory and disk."""

from __future__ import annotations

from bpy.types import AddonPreferences, Context, UILayout

from ..installation.task import Task
from ..installation.task_timer import DOCTOR, SPACE, task
from ..operators.engine_health import (
    TOKENFLOW_OT_cache_space,
    TOKENFLOW_OT_copy_system_report,
    TOKENFLOW_OT_examine,
    TOKENFLOW_OT_unload_engine,
    all_findings,
)
from ..operators.engine_installation import TOKENFLOW_OT_install_engine
from ..operators.remedies import TOKENFLOW_OT_open_logs
from ..tokenflow_engine.client.findings import Finding
from ..tokenflow_engine.client.spoken import spoken_bytes
from .wrapped_text import draw_wrapped

_ICONS = {"OK": "CHECKMARK", "WARN": "INFO", "FAIL": "ERROR"}


def draw_doctor(layout: UILayout, context: Context) -> None:
    """Findings, each with its remedy and a button where one helps."""
    box = layout.box()
    examination = task(DOCTOR)
    box.label(text="Doctor", icon="VIEWZOOM")
    if examination is not None and examination.running:
        progress = examination.progress
        box.progress(factor=progress.share, text=f"Looking at: {progress.stage or 'the engine'}")
    else:
        for finding in all_findings():
            _draw_finding(box, context, finding)
    buttons = box.row()
    buttons.operator(TOKENFLOW_OT_examine.bl_idname, icon="PLAY")
    buttons.operator(TOKENFLOW_OT_copy_system_report.bl_idname, icon="COPYDOWN")
    buttons.operator(TOKENFLOW_OT_open_logs.bl_idname, text="Open Log Folder", icon="FILE_FOLDER")


def _draw_finding(box: UILayout, context: Context, finding: Finding) -> None:
    row = box.row()
    row.label(text="", icon=_ICONS.get(finding.status, "DOT"))
    column = row.column()
    text = f"{finding.check}: {finding.message}"
    draw_wrapped(column, context, text, alert=finding.status == "FAIL")
    if finding.remedy:
        draw_wrapped(column, context, finding.remedy)
    if finding.action == "install_engine":
        column.operator(TOKENFLOW_OT_install_engine.bl_idname, icon="IMPORT")
    elif finding.action == "clear_cache":
        column.operator(
            TOKENFLOW_OT_cache_space.bl_idname, text="Clear Cache", icon="TRASH"
        ).clear = True


def draw_memory_and_disk(layout: UILayout, context: Context, settings: AddonPreferences) -> None:
    box = layout.box()
    box.label(text="Memory and Disk", icon="DISK_DRIVE")
    column = box.column()
    column.use_property_split = True
    row = column.row()
    row.prop(settings, "idle_minutes")
    row.operator(TOKENFLOW_OT_unload_engine.bl_idname, icon="X")
    column.prop(settings, "frames_folder", placeholder="Beside the .blend")
    column.prop(settings, "cache_folder", placeholder="The user's cache folder")
    column.prop(settings, "cache_gigabytes")
    space = task(SPACE)
    draw_wrapped(box, context, _spoken_space(space))
    buttons = box.row()
    buttons.operator(TOKENFLOW_OT_cache_space.bl_idname, text="Look at Cache", icon="VIEWZOOM")
    clear = buttons.operator(TOKENFLOW_OT_cache_space.bl_idname, text="Clear Cache", icon="TRASH")
    clear.clear = True


def _spoken_space(space: Task | None) -> str:
    if space is None:
        return "The cache keeps what a second prompt on the same strip need not compute again."
    if space.running:
        return "Looking at the cache..."
    if space.error is not None:
        return str(space.error)
    used, free = spoken_bytes(space.result["used"]), spoken_bytes(space.result["free"])
    return f"{used} in {space.result['folder']}; {free} free on that disk."
