"""One edit from request to result: the phases in their order."""

from __future__ import annotations

import platform
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from .. import __version__
from ..client.edit_request import EditRequest
from ..client.errors import TokenFlowError
from ..client.progress import CancelCheck, EditResult, ProgressCallback
from ..diffusion.model import TINY_VAE
from ..media.latents import LatentStore
from ..media.picture_files import BYTES_PER_CHANNEL
from ..media.staging import full_disk_explained, require_free_space, staged_folder
from ..tokenflow.pieces import Piece
from ..tokenflow.wiring import Wiring, tokenflow
from .compiling import as_compiled
from .correspond import Correspondences, correspond, correspondence_key, correspondence_units
from .decode import EDIT_FILE, decode_frames, size_of_result, write_edit_file
from .disk import bytes_needed
from .edit_pieces import chosen_piece, edit_piece, join, piece_runs, plan_pieces
from .edit_region import EditRegion, find_region, with_region
from .invert import (
    Inversion,
    inversion_key,
    inversion_units,
    invert_parts,
    invert_source,
    latents_layout,
)
from .joint_edit import FINAL, edit_in_place, edit_key, edit_units, initial_latents, initial_rows
from .latent_rows import LatentRows, RowsOnDisk
from .meter import ProgressMeter
from .prepare import prepare, release_models, warnings_of
from .preview import preview_latents
from .ranks import Alone, Ranks
from .rates import PICTURES, SCORES
from .resources import peak_memory_mb, reset_peak
from .run import EditRun
from .scores import score_units, scores_of, stability
from .workers import ranks_of


def edit(
    request: EditRequest,
    *,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> EditResult:
    """Make one edit; the output folder appears whole at the end, or stays as it was.

    With `last_phase` "invert" the frames are only inverted into the cache, with "edit" a piece of
    the clip is edited into it; nothing is written then.

    progress: called after each UNet call, from the calling thread.
    cancelled: asked at each UNet call; True ends the edit.

    Raises:
        TokenFlowError: with the code and remedy of whatever is wrong; `Cancelled` after a cancel.
    """
    request = request.validated().resolved()
    meter = ProgressMeter({}, progress, cancelled)
    try:
        if request.last_phase != "decode":
            return _into_the_cache(request, meter)
        with staged_folder(Path(request.output)) as folder, ExitStack() as ends:
            with meter.phase("prepare"):
                run = prepare(request, meter)
                ends.callback(run.cache.release)
                _require_space(run)
            ends.enter_context(as_compiled(run))
            reset_peak(run.model.device)
            # A preview's few frames are edited in one call.
            shared = request if run.picked is None else replace(request, processes=1)
            with ranks_of(shared, assist) as ranks:
                inversion, region, latents = _denoise(replace(run, ranks=ranks))
            with meter.phase("decode"):
                edited = decode_frames(run, latents, region, folder)
                scores = scores_of(run, edited) if run.picked is None else {}
                # A preview has no scores; its pictures are written as they are drawn.
                deque(edited, maxlen=0)
            result = replace(
                _result(run),
                reconstruction_psnr=_rounded(inversion.reconstruction_psnr),
                scores=scores,
                stability=stability(scores),
                preview_of=run.picked or (),
            )
            write_edit_file(folder, _edit_file(run, result))
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TokenFlowError(
            "out_of_memory",
            "The edit needs more memory than this device has.",
            "Choose a smaller size or a smaller chunk, or close other programs.",
            str(error),
        ) from error
    return result


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _into_the_cache(request: EditRequest, meter: ProgressMeter) -> EditResult:
    with meter.phase("prepare"):
        run = prepare(request, meter)
        require_free_space(run.cache.root, bytes_needed(run).cache)
    reset_peak(run.model.device)
    try:
        with as_compiled(run):
            if request.last_phase == "invert":
                invert_parts(run)
            else:
                _edit_piece(run)
    finally:
        run.cache.release()
    return _result(run)


def _edit_piece(run: EditRun) -> None:
    part = chosen_piece(run)
    plan_pieces(run, [part])
    run.meter.plan("invert", 0 if _is_inverted(run) else inversion_units(run))
    with run.meter.phase("invert"):
        inversion = invert_source(run)
    with tokenflow(run.model.unet) as wiring, torch.inference_mode(), run.meter.phase("edit"):
        edit_piece(part, wiring, inversion, find_region(run, wiring, inversion))


def _is_inverted(run: EditRun) -> bool:
    return run.cache.find("invert", inversion_key(run)) is not None


def _result(run: EditRun) -> EditResult:
    """What is known of every run once its phases have ended."""
    width, height = size_of_result(run)
    return EditResult(
        output=run.request.output,
        frame_count=run.frame_count,
        width=width,
        height=height,
        fps=run.source.fps,
        seconds={name: round(value, 3) for name, value in run.meter.seconds.items()},
        peak_memory_mb=peak_memory_mb(run.model.device),
        warnings=tuple(warnings_of(run)),
    )


def _require_space(run: EditRun) -> None:
    need = bytes_needed(run)
    width, height = size_of_result(run)
    bytes_per_pixel = 4 * BYTES_PER_CHANNEL[run.request.picture_format]
    written = run.frame_count * width * height * bytes_per_pixel
    require_free_space(Path(run.request.output).parent, max(need.pictures, written))
    require_free_space(run.cache.root, need.cache)


def _denoise(run: EditRun) -> tuple[Inversion, EditRegion | None, LatentRows]:
    """The three phases in the UNet: inversion, region and clean latents of the edit."""
    meter, request = run.meter, run.request
    if run.picked is not None:
        return preview_latents(run)
    runs = piece_runs(run)
    meter.plan("invert", 0 if _is_inverted(run) else inversion_units(run))
    if len(runs) > 1:
        plan_pieces(run, [part for _, part in runs])
    else:
        known = run.cache.find("correspond", correspondence_key(run))
        meter.plan("correspond", 0 if known else correspondence_units(run))
        meter.plan("edit", with_region(run, edit_units(run)))
    meter.plan("decode", {PICTURES: run.frame_count, SCORES: score_units(run)})
    finished = None if request.trajectory else run.cache.find("edit", edit_key(run))
    with meter.phase("invert"):
        inversion = invert_source(run)
    if run.ranks.agree(int(finished is not None)) and finished:
        meter.plan("edit", 0)
        with tokenflow(run.model.unet) as wiring, torch.inference_mode():
            region = find_region(replace(run, ranks=Alone()), wiring, inversion)
        return inversion, region, RowsOnDisk(finished, FINAL)
    if len(runs) > 1:
        with tokenflow(run.model.unet) as wiring, torch.inference_mode(), meter.phase("edit"):
            region = find_region(run, wiring, inversion)
            latents = _joined(run, runs, wiring, inversion, region)
        return inversion, region, latents
    with tokenflow(run.model.unet) as wiring, torch.inference_mode():
        with meter.phase("correspond"):
            correspondences = correspond(run, wiring, inversion)
        with meter.phase("edit"):
            region = find_region(run, wiring, inversion)
            latents = _edit(run, wiring, inversion, correspondences, region)
    return inversion, region, latents


def _joined(
    run: EditRun,
    runs: list[tuple[Piece, EditRun]],
    wiring: Wiring,
    inversion: Inversion,
    region: EditRegion | None,
) -> LatentRows:
    def make(store: LatentStore) -> None:
        shape, dtype = latents_layout(run)
        store.create(FINAL, shape, dtype)
        for frame in run.frames:
            store.write(FINAL, frame, np.zeros(shape[1:], dtype))
        join(runs, wiring, inversion, region, RowsOnDisk(store, FINAL))

    return RowsOnDisk(run.cache.obtain("edit", edit_key(run), make), FINAL)


def assist(request: EditRequest, ranks: Ranks) -> None:
    """What another process than the first one does of an edit."""
    meter = ProgressMeter({})
    if torch.cuda.is_available():
        torch.cuda.set_device(ranks.rank % torch.cuda.device_count())
    with meter.phase("prepare"):
        run = replace(prepare(request, meter), ranks=ranks)
    with as_compiled(run):
        with meter.phase("invert"):
            inversion = invert_source(run)
        if ranks.agree(0):
            return
        with tokenflow(run.model.unet) as wiring, torch.inference_mode(), meter.phase("edit"):
            correspondences = correspond(run, wiring, inversion)
            region = find_region(run, wiring, inversion)
            latents = initial_latents(run, inversion)
            edit_in_place(run, wiring, inversion, correspondences, latents, region=region)


def _edit(
    run: EditRun,
    wiring: Wiring,
    inversion: Inversion,
    correspondences: Correspondences,
    region: EditRegion | None,
) -> LatentRows:
    trajectory: dict[str, Tensor] = {}

    def keep(step: int, latents: Tensor) -> None:
        trajectory[f"edit.step{step:03d}"] = latents.float().contiguous()

    def make(store: LatentStore) -> None:
        latents = RowsOnDisk(store, FINAL)
        store.create(FINAL, *latents_layout(run))
        for frames, rows in initial_rows(run, inversion):
            latents[frames] = rows
        after_step = keep if run.request.trajectory else None
        edit_in_place(run, wiring, inversion, correspondences, latents, after_step, region=region)

    if run.request.trajectory is None:
        return RowsOnDisk(run.cache.obtain("edit", edit_key(run), make), FINAL)
    store = run.cache.make("edit", edit_key(run), make)
    for timestep in run.inversion_timesteps:
        noisy = inversion.at(timestep, slice(None)).float().cpu()
        trajectory[f"inversion.t{timestep}"] = noisy.contiguous()
    _save_trajectory(Path(run.request.trajectory), trajectory)
    return RowsOnDisk(store, FINAL)


def _save_trajectory(path: Path, trajectory: dict[str, Tensor]) -> None:
    partial = path.with_name(f"{path.name}.part")
    with full_disk_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(trajectory, partial)
        partial.replace(path)


def _edit_file(run: EditRun, result: EditResult) -> dict[str, Any]:
    """Everything needed to make the edit again, and what came of it."""
    # The folder's own place and the files beside it say nothing about the edit.
    request = replace(run.request, trajectory=None, keyframe_schedule=None).to_json()
    return {
        "format": 1,
        "request": request,
        "keyframes": run.keyframes,
        "source": {
            "content": run.content,
            "first_frame": run.first_frame,
            "frame_count": run.frame_count,
            "size": [run.source.width, run.source.height],
            "fps": run.source.fps,
        },
        "model": {
            "name": run.request.model,
            "fingerprint": run.model.fingerprint,
            "decoder": TINY_VAE if run.decodes_tiny else "vae",
        },
        "device": run.model.device.type,
        "dtype": str(run.model.dtype).removeprefix("torch."),
        "compiled": run.compiled,
        "versions": {
            "tokenflow_edit": __version__,
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "python": platform.python_version(),
        },
        "result": result.to_json(),
    }


__all__ = ["EDIT_FILE", "edit", "release_models"]
