"""Whether an edit's UNet is compiled: where the edit is long enough to repay that.

What compiling saves differs from GPU to GPU, so it is measured on each before it is relied on. What
was measured is kept, since equal requests shall give equal frames on one machine: a compiled UNet's
numbers differ by rounding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..client.edit_request import EditRequest
from ..client.errors import TokenFlowError, is_out_of_memory
from ..diffusion.compiled import compiled_blocks
from ..tokenflow.wiring import injected_block
from .cache import key_of
from .claims import mark
from .correspond import correspondence_units
from .invert import inversion_units
from .joint_edit import edit_units
from .memory_probe import largest_call
from .resources import finish
from .run import EditRun

COMPILING_SECONDS = 90.0
"""What compiling is taken to cost, whether or not the compiler finds its work of another day."""

SHARE_SAVED = 0.1
"""Of the UNet's time, what compiling is taken to save until it is known."""

LEAST_SAVED = 0.03
"""Of the UNet's time, what compiling must have saved in a trial to be used at all."""

REPEATS = 3


@dataclass(frozen=True)
class Trial:
    """What a machine has shown of a model at one size.

    seconds_per_frame: of one UNet call in one branch, not compiled. saved: share of it that
        compiling has saved, below zero where it was slower; None where that was not tried.
    """

    seconds_per_frame: float
    saved: float | None = None

    def repays(self, units: int) -> bool:
        """Whether an edit of so many frames through the UNet gets back what compiling costs, as far
        as it is known."""
        if self.saved is not None and self.saved < LEAST_SAVED:
            return False
        return units * self.seconds_per_frame * SHARE_SAVED > COMPILING_SECONDS


def compiled_where_it_repays(run: EditRun) -> EditRun:
    """The run, with the UNet's blocks compiled where that was asked for or is worth it.

    Raises:
        TokenFlowError: code "bad_request", where it was asked for and can't be done; `Cancelled`
            after a cancel, which is noticed at each of the UNet's blocks.
    """
    wish = run.request.compile
    if wish == "always":
        compile_blocks(run)
        return replace(run, compiled=True)
    if wish == "auto" and may_repay(run.request, run.model.device):
        return replace(run, compiled=_repays(run))
    return run


def may_repay(request: EditRequest, device: torch.device) -> bool:
    """Whether an edit could be long enough at all. On a CPU compiling saves nothing (measured, see
    docs/performance); a preview is too short, and so are the parts of an edit that several
    processes share, which must all agree besides."""
    alone = request.processes == 1 and request.last_phase == "decode" and not request.piece_frames
    return device.type == "cuda" and alone and not request.preview_frames


@contextmanager
def as_compiled(run: EditRun) -> Iterator[None]:
    """The UNet as the run wants it.

    Nothing more is compiled within: a call of an unforeseen kind is made as if the UNet were not
    compiled, instead of standing still for a minute.
    """
    with ExitStack() as stack:
        if run.compiled:
            stack.enter_context(_blocks(run))
            stack.enter_context(torch.compiler.set_stance("eager_on_recompile"))
        yield


def _repays(run: EditRun) -> bool:
    units = sum(
        (inversion_units(run), *correspondence_units(run).values(), *edit_units(run).values())
    )
    file = _trial_file(run)
    try:
        trial = _read(file) or Trial(seconds_per_frame(run))
        if trial.repays(units):
            trial = _tried(run, trial)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # Smaller calls, which the edit itself will find, take time of their own.
        return False
    _write(file, trial)
    return trial.repays(units)


def _tried(run: EditRun, trial: Trial) -> Trial:
    """The trial with what compiling saves; the run is compiled then, where that is possible."""
    try:
        compile_blocks(run)
    except CannotCompile:
        return replace(trial, saved=0.0)
    if trial.saved is not None:
        return trial
    return replace(trial, saved=1 - seconds_compiled(run) / seconds_per_frame(run))


def compile_blocks(run: EditRun) -> None:
    """Have the compiler make, or find, all that the run needs.

    Raises:
        CannotCompile: see there.
    """
    # What an earlier edit of other settings has left could be taken for some of this one's calls,
    # and round otherwise.
    torch.compiler.reset()
    with _blocks(run) as blocks:
        batches = _batch_sizes(run)
        run.meter.revise(len(blocks) * len(batches))
        hooks = [block.register_forward_hook(lambda *_: run.meter.advance()) for block in blocks]
        try:
            for batch in batches:
                _call(run, batch)
        except Exception as error:
            if isinstance(error, TokenFlowError) or is_out_of_memory(error):
                raise
            raise CannotCompile(error) from error
        finally:
            for hook in hooks:
                hook.remove()


def _batch_sizes(run: EditRun) -> list[int]:
    """Those of the run's usual calls, the largest first: of keyframes, and of chunks in all
    branches and in one. What is compiled for some serves for most others, but not for one frame."""
    chunk = min(run.request.chunk, run.frame_count)
    whole = {largest_call(run), chunk * len(run.edit_embeddings), chunk}
    return sorted({run.memory.plan.at_once(frames) for frames in whole}, reverse=True)


class CannotCompile(TokenFlowError):
    """The compiler, or what it needs, is missing or fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            "bad_request",
            "This machine cannot compile the model.",
            'Set compile to "never", or install what torch.compile needs: Triton for a GPU, '
            "a C++ compiler for a CPU.",
            repr(error),
        )


def _blocks(run: EditRun) -> AbstractContextManager[tuple[nn.Module, ...]]:
    unet = run.model.unet
    return compiled_blocks(unet, run.cache.compiled, apart=(injected_block(unet),))


def _call(run: EditRun, frames: int) -> None:
    shape = frames, 4, *run.cells
    latents = torch.zeros(shape, device=run.model.device, dtype=run.model.latent_dtype)
    with torch.inference_mode():
        run.model.predict_noise(latents, run.plan.timesteps[0], run.source_embedding)
    finish(run.model.device)


def seconds_per_frame(run: EditRun) -> float:
    """Of one call of the bare UNet in one branch, the fastest of several."""
    frames = run.memory.plan.at_once(run.request.chunk)
    _call(run, frames)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        _call(run, frames)
        seconds.append(time.perf_counter() - started)
    return min(seconds) / frames


def seconds_compiled(run: EditRun) -> float:
    """The same with the blocks that `compile_blocks` has made."""
    compiled = replace(run, compiled=True)
    with as_compiled(compiled):
        return seconds_per_frame(compiled)


def _trial_file(run: EditRun) -> Path:
    model, device = run.model, run.model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    facts = {
        "device": name,
        "model": model.fingerprint,
        "dtype": str(model.dtype),
        "size": run.size,
        "torch": torch.__version__,
    }
    return run.cache.compiled / f"{key_of(facts)}.json"


def _read(file: Path) -> Trial | None:
    try:
        return Trial(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(file: Path, trial: Trial) -> None:
    partial = file.with_name(f"{file.name}.{mark()}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(asdict(trial)), encoding="utf-8")
    partial.replace(file)
