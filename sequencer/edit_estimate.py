"""What the next edit will need, of the strip and the settings as they are."""

from __future__ import annotations

from typing import NamedTuple

from bpy.types import Context

from ..installation.task_timer import DOCTOR, task
from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.needs import (
    DEMONSTRATION,
    STABLE_DIFFUSION,
    ModelShape,
    Needs,
    needs_of,
)
from .compatibility import left_handle, right_handle, sequencer_scene
from .settings import request_template
from .source_strip import active_strip, obstacle
from .strip_alone import frames_of


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
