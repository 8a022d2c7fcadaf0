"""Buttons that install the engine, stop that, and take it away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy
from bpy.props import IntProperty
from bpy.types import Context, Event, Operator

from ..installation.own_folders import engines_folder, preferences
from ..installation.task_timer import (
    INSTALL,
    follow,
    forget,
    installed_engine,
    is_running,
    redraw_preferences,
    refresh_engine,
)
from ..sequencer.queue_timer import edit_queue

if TYPE_CHECKING:
    import subprocess

    from ..installation.accelerator import Build

# What installs is loaded with the first click: Blender's start does not wait for it.


def chosen_build() -> Build:
    """The build that the preferences name, or the one that suits this machine."""
    from ..installation.accelerator import BUILDS, suitable_build

    settings = preferences()
    chosen = "auto" if settings is None else settings.engine_build
    return BUILDS[suitable_build() if chosen == "auto" else chosen]


class TOKENFLOW_OT_install_engine(Operator):
    """Install the engine into a folder of the add-on's own; Blender itself stays as it is"""

    bl_idname = "tokenflow.install_engine"
    bl_label = "Install Engine"
    bl_options = {"INTERNAL"}

    megabytes: IntProperty(
        name="At Most",
        description="Megabytes that may be downloaded; 0 for about what the build usually takes",
        min=0,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if is_running(INSTALL):
            cls.poll_message_set("The engine is being installed.")
            return False
        if not bpy.app.online_access:
            cls.poll_message_set("Online access is off: see Preferences > System > Network.")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> set[str]:
        if self.megabytes:
            return self.execute(context)
        return context.window_manager.invoke_props_dialog(
            self, width=420, title="Install Engine", confirm_text="Install"
        )

    def draw(self, context: Context) -> None:
        from ..tokenflow_engine.client.spoken import spoken_bytes

        build = chosen_build()
        column = self.layout.column(align=True)
        column.label(text=f"Build for: {build.title}")
        column.label(text=f"To download: about {spoken_bytes(build.download)}")
        column.label(text=f"On the disk: about {spoken_bytes(build.disk)}")
        column.label(text="It goes into a folder of the add-on's own.")
        column.label(text="You can go on working meanwhile.")

    def execute(self, context: Context) -> set[str]:
        from ..installation.engine_install import start_install

        build = chosen_build()
        settings = preferences()
        index = "" if settings is None else settings.package_index.strip()
        # A tenth more than was said: a later version of a small package is no surprise.
        at_most = self.megabytes * 10**6 or build.download * 11 // 10
        follow(INSTALL, start_install(engines_folder(), build.id, index, at_most))
        return {"FINISHED"}


class TOKENFLOW_OT_cancel_install(Operator):
    """Stop installing; what has been downloaded is kept for the next time"""

    bl_idname = "tokenflow.cancel_install"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not is_running(INSTALL):
            cls.poll_message_set("Nothing is being installed.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        forget(INSTALL)
        refresh_engine()
        return {"FINISHED"}


class TOKENFLOW_OT_remove_engine(Operator):
    """Delete the installed engine and what was downloaded for it; models and results stay"""

    bl_idname = "tokenflow.remove_engine"
    bl_label = "Remove Engine"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if is_running(INSTALL):
            cls.poll_message_set("The engine is being installed. Cancel that first.")
            return False
        if installed_engine().state.name == "NOT_INSTALLED":
            cls.poll_message_set("No engine is installed.")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> set[str]:
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Remove the Engine?",
            message="It can be installed again at any time.",
            confirm_text="Remove",
            icon="WARNING",
        )

    def execute(self, context: Context) -> set[str]:
        from ..installation.engine_install import remove_engines

        if edit_queue().unfinished:
            self.report({"ERROR"}, "Edits are running. Cancel them, or wait for them.")
            return {"CANCELLED"}
        edit_queue().close()
        forget(INSTALL)
        removal = remove_engines(engines_folder())
        if removal is not None and bpy.app.background:
            removal.wait()
        elif removal is not None:
            bpy.app.timers.register(lambda: _look_again(removal), first_interval=0.2)
        return {"FINISHED"}


def _look_again(removal: subprocess.Popen[bytes]) -> float | None:
    if removal.poll() is None:
        return 0.2
    refresh_engine()
    redraw_preferences()
    return None


classes = (TOKENFLOW_OT_install_engine, TOKENFLOW_OT_cancel_install, TOKENFLOW_OT_remove_engine)
