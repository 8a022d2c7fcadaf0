"""Buttons of the panel Takes."""

from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty, StringProperty
from bpy.types import Context, Event, Operator

from ..sequencer.compatibility import sequencer_scene
from ..sequencer.queue_timer import redraw_sidebars
from ..sequencer.settings import copy_fields
from ..sequencer.source_strip import active_strip
from ..tokenflow_engine.client.child_processes import remove_soon

if TYPE_CHECKING:
    from ..sequencer.takes import Take, Takes


def takes_in(context: Context) -> "Takes | None":
    """The takes of the strip that is selected."""
    from ..sequencer.takes import takes_of

    scene = sequencer_scene(context)
    strip = active_strip(context)
    return None if scene is None or strip is None else takes_of(scene, strip)


def may_have_takes(context: Context) -> bool:
    """Whether the strip that is selected was edited or is an edit, as its mark tells.

    For drawing: looking for the takes themselves goes over all strips.
    """
    strip = active_strip(context)
    return strip is not None and bool(strip.tokenflow.uid)


class _OfOneTake:
    """An operator on the take whose mark it is given, else on the one that shows."""

    bl_options = {"REGISTER", "UNDO"}

    take: StringProperty(
        name="Take",
        description="Mark of the take; empty for the one that shows",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls: Any, context: Context) -> bool:
        if not may_have_takes(context):
            cls.poll_message_set("Select a strip that was edited, or one of its takes.")
            return False
        return True

    def found(self: Any, context: Context) -> "Take | None":
        """The take; None after a report that there is none."""
        takes = takes_in(context)
        take = None
        if takes is not None:
            take = takes.find(self.take) if self.take else takes.shown
        if take is None:
            self.report({"ERROR"}, "This take is gone. Choose one in the panel Takes.")
        return take


class TOKENFLOW_OT_switch_take(_OfOneTake, Operator):
    """Show this take and mute the others"""

    bl_idname = "tokenflow.switch_take"
    bl_label = "Switch Take"

    original: BoolProperty(
        name="Original",
        description="Mute all takes, so that the strip they were made from shows",
        default=False,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.takes import show_only

        takes = takes_in(context)
        take = None if self.original else self.found(context)
        if takes is None or (take is None and not self.original):
            return {"CANCELLED"}
        show_only(takes, take)
        return {"FINISHED"}


class TOKENFLOW_OT_delete_take(_OfOneTake, Operator):
    """Delete this take, and its pictures on the disk unless something else shows them"""

    bl_idname = "tokenflow.delete_take"
    bl_label = "Delete Take"

    delete_files: BoolProperty(
        name="Delete Its Files",
        description="Delete its pictures and edit.json too; undo does not bring files back",
        default=True,
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: Context, event: Event) -> set[str]:
        if self.found(context) is None:
            return {"CANCELLED"}
        return context.window_manager.invoke_props_dialog(
            self, title="Delete Take?", confirm_text="Delete"
        )

    def draw(self, context: Context) -> None:
        from ..sequencer.takes import others_that_need

        take = self.found(context)
        layout = self.layout
        if take is None:
            return
        layout.label(text=take.name, icon="RENDER_ANIMATION", translate=False)
        if others_that_need(take):
            layout.label(text="Its files stay: something else shows them", icon="INFO")
        else:
            layout.prop(self, "delete_files")
            if self.delete_files:
                layout.label(text="Undo does not bring files back", icon="INFO")

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.takes import (
            others_that_need,
            own_files,
            remove_strips,
            select_only,
            show_only,
        )

        take = self.found(context)
        takes = takes_in(context)
        if take is None or takes is None:
            return {"CANCELLED"}
        scene = sequencer_scene(context)
        name, needed_by = take.name, others_that_need(take)
        files = own_files(take) if self.delete_files and not needed_by else []
        others = [other for other in takes.takes if other.uid != take.uid]
        was_shown = takes.shown is not None and takes.shown.uid == take.uid
        source = takes.originals[0] if takes.originals else others[-1].strips[0] if others else None
        if was_shown and others:
            show_only(takes, others[-1])
        if source is not None:
            select_only(scene, source)
        remove_strips(scene, [strip.name for strip in take.strips])
        removal = remove_soon(files, {file.parent for file in files})
        if removal is not None and bpy.app.background:
            removal.wait()
        if needed_by and self.delete_files:
            self.report({"INFO"}, f"{name} is deleted; its files stay, {needed_by[0]} shows them")
        else:
            self.report({"INFO"}, f"{name} is deleted")
        redraw_sidebars()
        return {"FINISHED"}


class TOKENFLOW_OT_edit_again(_OfOneTake, Operator):
    """Fill in the settings that this take was made with, and select its source to edit it anew"""

    bl_idname = "tokenflow.edit_again"
    bl_label = "Edit Again"

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.takes import select_only

        take = self.found(context)
        if take is None:
            return {"CANCELLED"}
        scene = sequencer_scene(context)
        kept = take.strips[0].tokenflow
        copy_fields(kept, scene.tokenflow)
        sources = [
            s for s in scene.sequence_editor.strips_all if s.tokenflow.uid == kept.source_uid
        ]
        if not sources:
            self.report(
                {"WARNING"},
                f'The strip "{kept.source_name}" is gone. Select another one to edit it this way.',
            )
            return {"FINISHED"}
        select_only(scene, sources[0])
        self.report({"INFO"}, f"The settings of {take.name} are filled in")
        return {"FINISHED"}


class TOKENFLOW_OT_open_take(_OfOneTake, Operator):
    """Show the folder with this take's pictures and edit.json"""

    bl_idname = "tokenflow.open_take"
    bl_label = "Open Folder"
    bl_options = {"REGISTER"}

    def execute(self, context: Context) -> set[str]:
        take = self.found(context)
        if take is None:
            return {"CANCELLED"}
        if take.folder is None or not take.folder.is_dir():
            self.report({"ERROR"}, f"The folder of {take.name} is gone: {take.folder}")
            return {"CANCELLED"}
        return bpy.ops.wm.path_open(filepath=str(take.folder))


classes = (
    TOKENFLOW_OT_switch_take,
    TOKENFLOW_OT_delete_take,
    TOKENFLOW_OT_edit_again,
    TOKENFLOW_OT_open_take,
)
