"""What the next edit will need, and the button that makes it fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bpy.types import Context, Operator

from ..installation.task_timer import DOCTOR, task
from ..sequencer.compatibility import left_handle, right_handle, sequencer_scene
from ..sequencer.settings import request_template
from ..sequencer.source_strip import active_strip, obstacle
from ..sequencer.strip_alone import frames_of

if TYPE_CHECKING:
    from ..tokenflow_engine.client.edit_request import EditRequest
    from ..tokenflow_engine.client.needs import ModelShape, Needs


class Estimate(NamedTuple):
    """needs of frames of size (width, height) on a device; available: its bytes, if known."""

    request: EditRequest
    frames: int
    size: tuple[int, int]
    needs: Needs
    model: ModelShape
    half: bool
    device_name: str
    available: int | None


def estimate(context: Context) -> Estimate | None:
    """For the active strip as the settings are; None where there is nothing to edit."""
    from ..tokenflow_engine.client.needs import DEMONSTRATION, STABLE_DIFFUSION, needs_of

    strip = active_strip(context)
    if strip is None or obstacle(strip) is not None:
        return None
    scene = sequencer_scene(context)
    request = request_template(scene.tokenflow)
    frames = right_handle(strip) - left_handle(strip)
    size = request.size or _multiple_of_8(frames_of(scene, strip).size)
    model = DEMONSTRATION if request.model == "embedded" else STABLE_DIFFUSION
    device, available = _device(request.device)
    half = request.dtype in ("float16", "bfloat16") or (request.dtype == "auto" and device != "cpu")
    needs = needs_of(request, frames, size, half=half, model=model)
    names = {"cpu": "processor", "cuda": "GPU", "mps": "Apple GPU"}
    return Estimate(request, frames, size, needs, model, half, names.get(device, device), available)


def _multiple_of_8(size: tuple[int, int]) -> tuple[int, int]:
    return (max(64, round(size[0] / 8) * 8), max(64, round(size[1] / 8) * 8))


def _device(wanted: str) -> tuple[str, int | None]:
    """The device that will compute and its bytes, as far as the doctor has told."""
    examination = task(DOCTOR)
    found = [] if examination is None else examination.result.get("devices", [])
    for device in found:
        if wanted in ("auto", device["id"]):
            megabytes = device.get("memory_mb")
            return device["id"], None if megabytes is None else int(megabytes) << 20
    return ("cpu" if wanted == "auto" else wanted), None


class TOKENFLOW_OT_smaller_plan(Operator):
    """Set size and chunk so that the edit fits into the memory that is there"""

    bl_idname = "tokenflow.smaller_plan"
    bl_label = "Use a Smaller Plan"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        found = estimate(context)
        if found is None or found.available is None or found.needs.memory <= found.available:
            cls.poll_message_set("The edit fits as it is, or nobody knows the memory.")
            return False
        return True

    def execute(self, context: Context) -> set[str]:
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
