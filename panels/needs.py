"""The panel that says, before a click, what the edit will need, and offers a smaller plan."""

from __future__ import annotations

from bpy.types import Context, Panel

from ..operators.smaller_plan import TOKENFLOW_OT_smaller_plan
from ..tokenflow_engine.client.spoken import spoken_bytes
from .wrapped_text import draw_wrapped


class TOKENFLOW_PT_needs(Panel):
    bl_label = "Memory and Disk"
    bl_space_type = "SEQUENCE_EDITOR"
    bl_region_type = "UI"
    bl_category = "TokenFlow"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        # Closed for most people: what it needs is loaded when it is opened.
        from ..sequencer.edit_estimate import estimate

        found = estimate(context)
        if found is None:
            self.layout.label(text="Select a strip that can be edited.", icon="INFO")
            return
        width, height = found.size
        memory, disk = spoken_bytes(found.needs.memory), spoken_bytes(found.needs.disk)
        draw_wrapped(
            self.layout,
            context,
            f"{found.frames} frames of {width}x{height} need about {memory} of memory on the "
            f"{found.device_name} and up to {disk} of disk.",
        )
        if found.available is None:
            draw_wrapped(
                self.layout, context, "The doctor in the preferences finds how much there is."
            )
        elif found.needs.memory > found.available:
            draw_wrapped(
                self.layout,
                context,
                f"It has about {spoken_bytes(found.available)}.",
                alert=True,
            )
            self.layout.operator(TOKENFLOW_OT_smaller_plan.bl_idname, icon="FULLSCREEN_EXIT")
        else:
            draw_wrapped(self.layout, context, f"It has about {spoken_bytes(found.available)}.")


classes = (TOKENFLOW_PT_needs,)
