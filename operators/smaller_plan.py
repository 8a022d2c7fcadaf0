"""The button that makes the next edit fit into the memory that is there."""

from __future__ import annotations

from bpy.types import Context, Operator

from ..sequencer.compatibility import sequencer_scene


class TOKENFLOW_OT_smaller_plan(Operator):
    """Set size and chunk so that the edit fits into the memory that is there"""

    bl_idname = "tokenflow.smaller_plan"
    bl_label = "Use a Smaller Plan"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        from ..sequencer.edit_estimate import estimate

        found = estimate(context)
        if found is None or found.available is None or found.needs.memory <= found.available:
            cls.poll_message_set("The edit fits as it is, or nobody knows the memory.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
        from ..sequencer.edit_estimate import estimate
        from ..tokenflow_engine.client.needs import smaller_plan

        found = estimate(context)
        if found is None or found.available is None:
            return {"CANCELLED"}
        plan = smaller_plan(
            found.request,
            found.frames,
            found.size,
            found.available,
            half=found.half,
            model=found.model,
        )
        if plan is None or plan.size is None:
            self.report({"ERROR"}, "No size fits. Choose another device or a smaller model.")
            return {"CANCELLED"}
        settings = sequencer_scene(context).tokenflow
        settings.use_size, settings.size, settings.chunk = True, plan.size, plan.chunk
        width, height = plan.size
        self.report({"INFO"}, f"{width}x{height}, chunks of {plan.chunk}")
        return {"FINISHED"}


classes = (TOKENFLOW_OT_smaller_plan,)
