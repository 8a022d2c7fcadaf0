"""The wipe between two takes: it follows the mouse over the preview until a click or Esc."""

from typing import Any

import bpy
from bpy.props import StringProperty
from bpy.types import Context, Event, Operator, Region

from ..sequencer.comparison import begin_comparison, end_comparison, set_position
from ..sequencer.compatibility import sequencer_scene
from ..tokenflow_engine.client.errors import TokenFlowError
from .takes import may_have_takes, takes_in

_ENDING = {"ESC", "RET", "NUMPAD_ENTER", "LEFTMOUSE", "RIGHTMOUSE"}
_PASSED_ON = {
    *("SPACE", "LEFT_ARROW", "RIGHT_ARROW", "UP_ARROW", "DOWN_ARROW", "HOME", "TIMER"),
    *("MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "TRACKPADPAN", "TRACKPADZOOM"),
}
"""Playing, stepping and zooming go on as usual; keys that change or save the project do not."""

_STATUS = "Mouse: move the wipe   |   Space: play   |   Click, Enter or Esc: end the comparison"


class TOKENFLOW_OT_compare_takes(Operator):
    """Compare this take with the one that shows, or with the original, by a wipe in the preview"""

    bl_idname = "tokenflow.compare_takes"
    bl_label = "Compare Takes"
    # Nothing is changed in the end, so that there is nothing to undo.
    bl_options = {"REGISTER"}

    take: StringProperty(
        name="Take",
        description="Mark of the take on the right; empty for the one that shows",
        options={"HIDDEN", "SKIP_SAVE"},
    )
    other: StringProperty(
        name="Other Take",
        description="Mark of the take on the left; empty for the original",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not may_have_takes(context):
            cls.poll_message_set("Select a strip that was edited, or one of its takes.")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> set[str]:
        if bpy.app.background or not any(_previews(context)):
            self.report({"ERROR"}, "No preview is open. Show one to compare takes in it.")
            return {"CANCELLED"}
        from ..sequencer.takes import piece_at

        scene = sequencer_scene(context)
        takes = takes_in(context)
        if takes is None:
            return {"CANCELLED"}
        take = takes.find(self.take) if self.take else takes.shown or takes.takes[-1]
        other = takes.find(self.other) if self.other else None
        left = piece_at(other.strips if other else takes.originals, scene.frame_current)
        right = piece_at(take.strips if take else (), scene.frame_current)
        if left is None or right is None:
            self.report({"ERROR"}, "One of the two is gone. Choose others in the panel Takes.")
            return {"CANCELLED"}
        try:
            begin_comparison(scene, left, right)
        except TokenFlowError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._scene_name = scene.name
        context.window_manager.modal_handler_add(self)
        context.workspace.status_text_set(_STATUS)
        return {"RUNNING_MODAL"}

    def execute(self, context: Context) -> set[str]:
        self.report({"ERROR"}, "Takes are compared in a window, by the mouse.")
        return {"CANCELLED"}

    def modal(self, context: Context, event: Event) -> set[str]:
        if event.type == "MOUSEMOVE":
            self._follow(context, event)
            return {"PASS_THROUGH"}
        if event.type in _ENDING and event.value == "PRESS":
            self.cancel(context)
            return {"FINISHED"}
        if event.type in _PASSED_ON or event.type.startswith("TIMER"):
            return {"PASS_THROUGH"}
        return {"RUNNING_MODAL"}

    def cancel(self, context: Context) -> None:
        """Also called by Blender, when it opens another file or quits."""
        context.workspace.status_text_set(None)
        scene = bpy.data.scenes.get(self._scene_name)
        if scene is not None:
            end_comparison(scene)

    def _follow(self, context: Context, event: Event) -> None:
        scene = bpy.data.scenes.get(self._scene_name)
        if scene is None:
            return
        for region in _previews(context):
            x, y = event.mouse_x - region.x, event.mouse_y - region.y
            if 0 <= x < region.width and 0 <= y < region.height:
                across, _up = region.view2d.region_to_view(x, y)
                set_position(scene, 0.5 + across / _shown_width(scene))
                region.tag_redraw()


def _previews(context: Context) -> list[Region]:
    return [
        region
        for area in context.screen.areas
        if area.type == "SEQUENCE_EDITOR"
        for region in area.regions
        if region.type == "PREVIEW" and region.width > 1
    ]


def _shown_width(scene: Any) -> float:
    """Units of the preview's view that the picture is wide."""
    render = scene.render
    return float(render.resolution_x * max(1.0, render.pixel_aspect_x / render.pixel_aspect_y))


classes = (TOKENFLOW_OT_compare_takes,)
