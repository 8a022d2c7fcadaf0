"""How near the edit loop comes to the bare UNet: operations a second of both, in one run.

The loop is the engine's own code on latents without meaning, which take as long as others: the
source's correspondences and the edit, with keyframe passes, propagation, search and disk.
The bare UNet is diffusers' own, with the batch sizes that the loop used.

Some of the loop's calls end before the UNet does (`tokenflow.attention.SourcePass`), and some leave
out what is replaced anyway. They count with the operations that they have run, and the bare calls,
which are whole, with theirs: what is saved makes the loop faster, and is no credit to its rate.
Only that the UNet's end is slower than the rest for each operation shows a little: a source call of
8 frames, 24x24 latents of the embedded model on one core, ran 30.8 GFLOP/s without it, 29.9 whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..client.edit_request import LATENT_CELL, EditRequest
from ..diffusion.model import DiffusionModel
from ..editors.plan import EditPlan
from ..media.frames import SourceInfo
from ..media.latents import LatentStore
from ..phases.cache import PhaseCache
from ..phases.correspond import correspond
from ..phases.invert import CLEAN, Inversion, begin_inversion, step_name
from ..phases.joint_edit import edit_latents
from ..phases.meter import ProgressMeter
from ..phases.run import EditRun
from ..tokenflow.keyframes import draw_schedule
from ..tokenflow.wiring import tokenflow
from .operations import count_operations
from .random_models import random_embedding
from .timing import Seconds, time_of, timed

DEFAULT_STEPS = 50


@dataclass(frozen=True)
class LoopSize:
    """What of an edit is timed.

    size: pixels a side. steps: denoising steps, spread over an edit's so that Plug-and-Play injects
    in the same share of them. repeats: of everything.
    """

    frames: int
    chunk: int
    steps: int
    size: int
    repeats: int = 1


@dataclass
class LoopRate:
    """Everything per repeat.

    phases: seconds of each phase of the loop. batches: how often the loop called the UNet with each
    batch size. bare: seconds of the bare UNet for the same calls. operations, bare_operations: of
    the loop, and of those bare calls.
    """

    size: LoopSize
    phases: dict[str, Seconds]
    batches: dict[int, int]
    operations: int
    bare: Seconds
    bare_operations: int

    @property
    def loop(self) -> Seconds:
        return sum(self.phases.values(), Seconds())

    def ratio(self, clock: str = "wall") -> float:
        """The loop's operations a second over the bare UNet's, by one clock of `Seconds`."""
        own = self.operations / getattr(self.loop, clock)
        return float(own / (self.bare_operations / getattr(self.bare, clock)))

    def to_json(self) -> dict[str, Any]:
        return {
            "frames": self.size.frames,
            "chunk": self.size.chunk,
            "steps": self.size.steps,
            "size": self.size.size,
            "repeats": self.size.repeats,
            "calls_by_batch": {str(size): count for size, count in sorted(self.batches.items())},
            "gflop": round(self.operations / 1e9, 3),
            "seconds": self.loop.to_json(),
            "seconds_by_phase": {name: time.to_json() for name, time in self.phases.items()},
            "gflop_per_second": round(self.operations / self.loop.wall / 1e9, 2),
            "bare_gflop": round(self.bare_operations / 1e9, 3),
            "bare_seconds": self.bare.to_json(),
            "bare_gflop_per_second": round(self.bare_operations / self.bare.wall / 1e9, 2),
            "ratio_by_wall_clock": round(self.ratio(), 4),
            "ratio_by_processor_time": round(self.ratio("cpu"), 4),
        }


def measure_loop(model: DiffusionModel, size: LoopSize, folder: Path) -> LoopRate:
    """Time an edit's loop and the bare UNet, taking turns; `folder` is for the loop's files."""
    run = synthetic_run(model, size, folder)
    inversion = random_inversion(run, folder / "inversion")
    batches: Counter[int] = Counter()
    phases = {"correspond": Seconds(), "edit": Seconds()}

    def once(number: int, clocks: bool = True) -> None:
        fresh = replace(run, cache=PhaseCache(folder / f"loop{number}"))
        with tokenflow(model.unet) as wiring, torch.inference_mode():
            found, searched = time_of(lambda: correspond(fresh, wiring, inversion), model.device)
            _, edited = time_of(lambda: edit_latents(fresh, wiring, inversion, found), model.device)
        if clocks:
            phases["correspond"] += searched
            phases["edit"] += edited

    # A small UNet is timed after a first run and counted in a run of its own; with a large one, a
    # run takes minutes and neither shows.
    light = size.repeats > 1
    if light:
        operations = count_operations(lambda: once(0, clocks=False))
    bare = Seconds()
    for number in range(1, size.repeats + 1):
        batches.clear()
        with _recorded(model.unet, batches):
            if light:
                once(number)
            else:
                operations = count_operations(lambda: once(1))
        for batch, calls in batches.items():
            bare += _time_bare(model, size, batch, calls, light)
    share = 1 / size.repeats
    return LoopRate(
        size,
        {name: seconds * share for name, seconds in phases.items()},
        dict(batches),
        operations,
        bare * share,
        sum(calls * _bare_operations(model, size, batch) for batch, calls in batches.items()),
    )


def synthetic_run(model: DiffusionModel, size: LoopSize, folder: Path) -> EditRun:
    """An edit of latents without pictures."""
    request = EditRequest(
        source="latents",
        prompt="anything",
        output=str(folder / "out"),
        chunk=size.chunk,
        steps=DEFAULT_STEPS,
    )
    every = model.schedule.timesteps(DEFAULT_STEPS)
    spread = [round((i + 0.5) * DEFAULT_STEPS / size.steps - 0.5) for i in range(size.steps)]
    timesteps = tuple(every[i] for i in spread)
    return EditRun(
        request=request,
        source=SourceInfo("images", size.frames, size.size, size.size, None),
        model=model,
        first_frame=0,
        frame_count=size.frames,
        size=(size.size, size.size),
        content="random",
        source_embedding=random_embedding(model),
        edit_embeddings=torch.cat([random_embedding(model), random_embedding(model)]),
        plan=EditPlan(
            timesteps,
            attention_steps=int(size.steps * request.pnp_attention),
            feature_steps=int(size.steps * request.pnp_features),
        ),
        keyframes=draw_schedule(size.frames, size.chunk, size.steps, seed=0),
        inversion_timesteps=timesteps[::-1],
        cache=PhaseCache(folder / "cache"),
        meter=_idle_meter(),
    )


def random_inversion(run: EditRun, folder: Path) -> Inversion:
    """An inversion of noise, for the latents of `synthetic_run`."""
    store = LatentStore(folder)
    begin_inversion(run, store)
    for name in (CLEAN, *map(step_name, run.inversion_timesteps)):
        noise = torch.randn(store.shape(name), dtype=run.model.latent_dtype)
        store.write(name, slice(None), noise.numpy())
    return Inversion(run, store)


def _idle_meter() -> ProgressMeter:
    meter = ProgressMeter({})
    meter.phase("edit").__enter__()
    return meter


@contextmanager
def _recorded(unet: Any, batches: Counter[int]) -> Iterator[None]:
    def note(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        batches[len(inputs[0] if inputs else named["sample"])] += 1

    hook = unet.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@dataclass
class _BareCall:
    model: DiffusionModel
    size: LoopSize
    batch: int
    latents: torch.Tensor = field(init=False)
    embeddings: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        side, model = self.size.size // LATENT_CELL, self.model
        self.latents = torch.randn(
            self.batch, 4, side, side, device=model.device, dtype=model.dtype
        )
        self.embeddings = random_embedding(model).expand(self.batch, -1, -1)

    def __call__(self) -> None:
        with torch.inference_mode():
            self.model.unet(self.latents, 481, encoder_hidden_states=self.embeddings)


def _time_bare(
    model: DiffusionModel, size: LoopSize, batch: int, calls: int, light: bool
) -> Seconds:
    call = _BareCall(model, size, batch)
    times = min(calls, 3) if light else 1
    with timed(model.device) as seconds:
        for _ in range(times):
            call()
    return seconds * (calls / times)


def _bare_operations(model: DiffusionModel, size: LoopSize, batch: int) -> int:
    """Of one call; they grow with the batch, so that one frame is enough to count."""
    return batch * count_operations(_BareCall(model, size, 1))
