"""Buttons that examine the engine, report about it, and free what it holds."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty
from bpy.types import Context, Event, Operator

from ..installation.own_folders import (
    ADDON,
    PACKAGE_ROOT,
    engines_folder,
    log_folder,
    own_folder,
    preferences,
)
from ..installation.task_timer import (
    DOCTOR,
    SPACE,
    follow,
    forget,
    is_running,
    refresh_engine,
    task,
)
from ..sequencer.compatibility import sequencer_scene
from ..sequencer.queue_timer import edit_queue
from ..tokenflow_engine.client.errors import TokenFlowError

if TYPE_CHECKING:
    from ..tokenflow_engine.client.findings import Finding

_asked = False

_PRIVATE = ("prompt", "negative_prompt", "source_prompt")
"""What an artist works on is nobody's business."""


def all_findings() -> list[Finding]:
    """What the last examination found; empty if there was none."""
    from ..installation.doctor import findings_of, own_findings
    from ..sequencer.engine_command import engine_command

    examination = task(DOCTOR)
    if examination is None and not was_asked():
        return []
    missing: TokenFlowError | None = None
    try:
        engine_command()
    except TokenFlowError as error:
        missing = error
    own = own_findings(missing, bpy.app.online_access, own_folder("frames"))
    return [*own, *findings_of(examination)]


def was_asked() -> bool:
    """Whether the doctor was asked since Blender started, with or without an engine."""
    return _asked


class TOKENFLOW_OT_examine(Operator):
    """Check the engine, its packages, devices, model, ffmpeg and disk; takes some seconds"""

    bl_idname = "tokenflow.examine"
    bl_label = "Examine"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if is_running(DOCTOR):
            cls.poll_message_set("The doctor is at work.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        from ..installation.doctor import start_examination
        from ..sequencer.engine_command import engine_command

        global _asked
        _asked = True
        forget(DOCTOR)
        refresh_engine()
        try:
            follow(DOCTOR, start_examination(engine_command()))
        except TokenFlowError:
            # That there is no engine is the first thing that the findings say.
            return {"FINISHED"}
        return {"FINISHED"}


class TOKENFLOW_OT_copy_system_report(Operator):
    """Copy versions, settings, findings and the end of the logs; no prompts, passwords or names"""

    bl_idname = "tokenflow.copy_system_report"
    bl_label = "Copy Report"
    bl_options = {"INTERNAL"}

    def execute(self, context: Context) -> set[str]:
        context.window_manager.clipboard = report_of(context)
        self.report({"INFO"}, "The report is on the clipboard")
        return {"FINISHED"}


def report_of(context: Context) -> str:
    """The text that `tokenflow.copy_system_report` copies."""
    from ..installation.report import system_report

    shown: dict[str, Any] = {}
    chosen = preferences()
    for owner in (chosen, sequencer_scene(context).tokenflow):
        if owner is not None:
            names = [p.identifier for p in owner.bl_rna.properties if not p.is_readonly]
            shown |= {n: _plain(getattr(owner, n)) for n in names if n not in _PRIVATE}
    versions = {
        "Blender": f"{bpy.app.version_string} ({bpy.app.build_platform.decode()})",
        "Add-on": _own_version(),
        "Engine": refresh_engine().state.value,
        "System": platform.platform(),
        "Python": sys.version.split()[0],
    }
    logs = [*log_folder().glob("engine.log"), *engines_folder().glob("*.log")]
    return system_report(versions, shown, all_findings(), logs, Path.home())


def _plain(value: Any) -> object:
    return tuple(value) if hasattr(value, "__len__") and not isinstance(value, str) else value


def _own_version() -> str:
    manifest = (PACKAGE_ROOT / "blender_manifest.toml").read_text(encoding="utf-8")
    found = [line for line in manifest.splitlines() if line.startswith("version")]
    return found[0].partition("=")[2].strip(' "') if found else f"{ADDON}, version unknown"


class TOKENFLOW_OT_unload_engine(Operator):
    """End the engine now, so that the memory of its model is free; the next edit starts it again"""

    bl_idname = "tokenflow.unload_engine"
    bl_label = "Unload Model Now"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if edit_queue().unfinished:
            cls.poll_message_set("Edits are running. Cancel them, or wait for them.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        edit_queue().close()
        self.report({"INFO"}, "The engine has ended; its memory is free")
        return {"FINISHED"}


class TOKENFLOW_OT_cache_space(Operator):
    """Look how much the kept results of earlier edits take, or remove them"""

    bl_idname = "tokenflow.cache_space"
    bl_label = "Cache"
    bl_options = {"INTERNAL"}

    clear: BoolProperty(
        name="Clear",
        description="Remove the kept results; edits give the same pictures, the next one slower",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if is_running(SPACE):
            cls.poll_message_set("The cache is being looked at.")
            return False
        if edit_queue().unfinished:
            cls.poll_message_set("Edits are running, and use the cache.")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> set[str]:
        if not self.clear:
            return self.execute(context)
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Clear the Cache?",
            message="Strips and edited frames stay. A second prompt on a strip takes longer once.",
            confirm_text="Clear",
        )

    def execute(self, context: Context) -> set[str]:
        from ..installation.doctor import start_command
        from ..sequencer.engine_command import engine_command

        try:
            engine = engine_command()
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        options = ["--clear"] if self.clear else []
        follow(SPACE, start_command(engine, "cache", "--messages", *options))
        return {"FINISHED"}


classes = (
    TOKENFLOW_OT_examine,
    TOKENFLOW_OT_copy_system_report,
    TOKENFLOW_OT_unload_engine,
    TOKENFLOW_OT_cache_space,
)
