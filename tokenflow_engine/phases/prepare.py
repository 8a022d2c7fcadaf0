"""From a request to everything that its phases depend on: frames counted, model loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..client.edit_request import EditRequest
from ..client.errors import TokenFlowError
from ..diffusion.model import ModelShelf, choose_device, choose_dtype
from ..diffusion.prompts import embed, lost_words
from ..editors.registry import PLANS
from ..media.fit import fit_size
from ..media.frames import probe
from ..tokenflow.keyframes import KeyframeSchedule, draw_schedule, read_schedule, spread
from .cache import PhaseCache
from .compiling import compiled_where_it_repays
from .memory_probe import start_where_it_fits
from .meter import ProgressMeter
from .run import EditRun, content_of, fitted_frames

shelf = ModelShelf()


def release_models() -> None:
    """Free the memory of the model that is kept for the next edit."""
    shelf.release()


def prepare(request: EditRequest, meter: ProgressMeter) -> EditRun:
    """Read the source, load the model, and settle everything that the phases depend on.

    Raises:
        TokenFlowError: for a source, range or model that can't be used; `Cancelled` after a cancel.
    """
    source_path = Path(request.source)
    source = probe(source_path)
    first, stop = request.frames or (0, source.frame_count)
    if stop > source.frame_count:
        raise TokenFlowError(
            "bad_request",
            f"The frame range {first}:{stop} goes beyond the source's {source.frame_count} frames.",
            f"Choose a range within 0:{source.frame_count}.",
        )
    if stop - first < 2 and request.last_phase != "invert":
        raise TokenFlowError(
            "bad_request",
            "There is only one frame to edit; TokenFlow needs at least two.",
            "Choose a movie or an image sequence, or a longer range.",
        )
    picked = None
    if request.preview_frames:
        picked = tuple(first + place for place in spread(stop - first, request.preview_frames))
    numbers = picked or range(first, stop)
    count = len(numbers)
    device = choose_device(request.device)
    model = shelf.model(request.model, device, choose_dtype(request.dtype, device))
    size = fit_size((source.width, source.height), request.size, native=model.native_size)

    timesteps = tuple(model.schedule.timesteps(request.steps_taken))
    inversion_timesteps = tuple(model.schedule.timesteps(request.inversion_steps_taken)[::-1])
    plan = PLANS[request.editor](request, timesteps)
    prompts = [request.prompt]
    if request.guidance_scale != 1:
        prompts.insert(0, request.negative_prompt)
    run = EditRun(
        request=request,
        source=source,
        model=model,
        first_frame=first,
        frame_count=count,
        size=size,
        content=_content(source_path, numbers, size, meter),
        source_embedding=embed(model, request.source_prompt),
        edit_embeddings=torch.cat([embed(model, prompt) for prompt in prompts]),
        plan=plan,
        keyframes=_keyframes(request, count, len(plan.timesteps)),
        inversion_timesteps=inversion_timesteps,
        cache=PhaseCache(),
        meter=meter,
        picked=picked,
    )
    start_where_it_fits(run)
    return compiled_where_it_repays(run)


def _content(
    source: Path, numbers: Sequence[int], size: tuple[int, int], meter: ProgressMeter
) -> str:
    """Hash, hexadecimal, of the fitted frames."""
    meter.plan("prepare", len(numbers))

    def counted() -> Iterator[np.ndarray]:
        for frame in fitted_frames(source, numbers, size):
            yield frame
            meter.advance()

    return content_of(counted())


def _keyframes(request: EditRequest, frame_count: int, steps: int) -> KeyframeSchedule:
    if request.preview_frames:
        return (tuple(range(frame_count)),) * steps
    if request.keyframe_schedule:
        path = Path(request.keyframe_schedule)
        return read_schedule(path, frame_count, request.chunk, steps)
    return draw_schedule(frame_count, request.chunk, steps, request.seed)


def warnings_of(run: EditRun) -> list[str]:
    """Sentences the user should read before the result."""
    request = run.request
    warnings = []
    for name in ("prompt", "negative_prompt", "source_prompt"):
        if lost := lost_words(run.model, getattr(request, name)):
            spoken = name.replace("_", " ")
            words = " ".join(lost)
            warnings.append(f'The {spoken} is too long for this model; it lost: "{words}".')
    return warnings + run.memory.warnings()
