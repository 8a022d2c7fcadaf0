"""Phase 1: inversion of every frame, kept on disk for every timestep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from ..diffusion.autoencoder import decode, encode
from ..diffusion.inversion import sample
from ..diffusion.schedule import DenseOutput
from ..diffusion.solvers import SOLVERS
from ..evaluation.metrics import psnr
from ..media.latents import LatentStore, StoredLatents
from .beside import writing_behind
from .cache import key_of
from .ranks import Parts
from .run import EditRun, content_of

CLEAN = "clean"
PARTS = "invert-part"
RECONSTRUCTION = "reconstruction"
ENCODED_AHEAD = 16
"""Batches that are encoded before the first of them is inverted, where autoencoder and UNet are on
the device in turns: each turn costs the time to move one away and the other there. Their frames,
100 MB of 512x512 pixels at 8 a batch, wait on the host."""

RECONSTRUCTED_FRAMES = 4
"""Frames sampled back to measure the inversion; all of them would double its cost."""


class Inversion:
    """The inverted source on disk.

    noisiest: the timestep that the inversion ends at.
    """

    def __init__(self, run: EditRun, store: StoredLatents) -> None:
        self._run = run
        self._store = store
        self._path = DenseOutput(run.model.schedule, run.inversion_timesteps)
        self.noisiest = run.inversion_timesteps[-1]

    @property
    def reconstruction_psnr(self) -> float | None:
        """dB between source and reconstruction, mean over a few frames spread over the clip; None
        for a preview, which has no time to measure it."""
        if self._run.picked is not None:
            return None
        return float(np.mean(self._store.read(RECONSTRUCTION, slice(None))))

    def clean(self, frames: Any) -> torch.Tensor:
        """(n, 4, h, w) latents of the source frames themselves."""
        return self._run.tensor(self._store.read(CLEAN, frames))

    def at(self, timestep: int, frames: Any) -> torch.Tensor:
        """(n, 4, h, w) latents of the source at any timestep."""
        low, high = self._path.ends(timestep)
        top = self._run.tensor(self._store.read(step_name(high), frames))
        if timestep == high:
            return top
        below = self.clean(frames) if low is None else self.at(low, frames)
        return self._path.between(timestep, below, top)


def inversion_key(run: EditRun) -> str:
    request, model = run.request, run.model
    return key_of(
        {
            "content": run.content,
            "model": model.fingerprint,
            "source_prompt": request.source_prompt,
            "timesteps": run.inversion_timesteps,
            "solver": [request.solver, SOLVERS[request.solver].version],
            "precision": [
                str(model.dtype),
                model.device.type,
                *(["compiled"] if run.compiled else []),
            ],
            "batch": request.chunk,
            "preview": run.picked is not None,
        }
    )


@dataclass
class InversionWork:
    """What is left of an inversion, as far as it can be told.

    calls: UNet calls for each timestep: those that are expected, and then those that the last batch
        took. frames: how many are not inverted yet.
    """

    calls: list[int]
    frames: int

    @classmethod
    def of(cls, run: EditRun) -> InversionWork:
        calls = SOLVERS[run.request.solver].calls(run.model.schedule, run.inversion_timesteps)
        return cls(calls, run.frame_count)

    def units(self, frames: int) -> int:
        """UNet calls times frames."""
        return sum(self.calls) * frames


def inversion_units(run: EditRun) -> int:
    """UNet calls times frames that the phase is expected to take when it is not cached."""
    sampled_back = len(run.inversion_timesteps) * len(reconstructed(run))
    return InversionWork.of(run).units(run.frame_count) + sampled_back


def invert_source(run: EditRun) -> Inversion:
    """Invert every frame, or find the result of an earlier run.

    Raises:
        Cancelled: at the next UNet call after the user has cancelled.
    """
    store = run.obtain("invert", inversion_key(run), partial(_invert, run))
    return Inversion(run, store)


def reconstructed(run: EditRun) -> list[int]:
    """The frames that are sampled back, spread evenly over the clip; none for a preview."""
    if run.picked is not None:
        return []
    count = min(RECONSTRUCTED_FRAMES, run.frame_count)
    return sorted({round(i) for i in np.linspace(0, run.frame_count - 1, count)})


def invert_parts(run: EditRun) -> None:
    """Invert each batch of frames into an entry of its own, for a whole inversion to find.

    Frames are inverted independently, so that several processes can share a long clip's work.

    Raises:
        Cancelled: at the next UNet call after the user has cancelled.
    """
    work = InversionWork.of(run)
    run.meter.plan("invert", work.units(run.frame_count))
    with run.meter.phase("invert"):
        for frames in _batches(run.read(), run.request.chunk):
            part = _part_of(run, frames)

            def make(store: LatentStore, part: EditRun = part, frames: np.ndarray = frames) -> None:
                begin_inversion(part, store)
                whole = slice(0, part.frame_count)
                keep_path(part, store, whole, inverted(part, encode(part.model, frames), work))

            run.cache.obtain(PARTS, inversion_key(part), make)
            work.frames -= len(frames)


def _part_of(run: EditRun, frames: np.ndarray) -> EditRun:
    """A run of some frames alone."""
    return replace(run, frame_count=len(frames), content=content_of(frames))


def _path(run: EditRun, frames: np.ndarray, work: InversionWork) -> Callable[[], torch.Tensor]:
    """What gives `inverted` of these frames, which are encoded now; or what `invert_parts` has kept
    of them."""
    store = run.cache.find(PARTS, inversion_key(_part_of(run, frames)))
    if store is not None:
        return partial(_kept_path, run, store, len(frames), work)
    clean = run.memory.pieces(len(frames), lambda part: encode(run.model, frames[part]))
    return partial(inverted, run, torch.cat(clean), work)


def _kept_path(run: EditRun, store: StoredLatents, count: int, work: InversionWork) -> torch.Tensor:
    run.meter.advance(work.units(count))
    names = (CLEAN, *map(step_name, run.inversion_timesteps))
    return torch.from_numpy(np.stack([store.read(name, slice(None)) for name in names]))


def _paths(
    run: EditRun, work: InversionWork
) -> Iterator[tuple[np.ndarray, Callable[[], torch.Tensor] | None]]:
    """Every batch of frames with its `_path`, which is None where another process has it."""
    ahead = 1 if run.model.residence is None else ENCODED_AHEAD
    batches = enumerate(_batches(run.read(), run.request.chunk))
    while some := list(islice(batches, ahead)):
        owned = run.ranks.owns
        yield from [(x, _path(run, x, work) if owned(number) else None) for number, x in some]


def _invert(run: EditRun, store: LatentStore | None) -> None:
    if store is not None:
        begin_inversion(run, store)
    samples = reconstructed(run)
    originals: dict[int, np.ndarray] = {}
    work = InversionWork.of(run)
    start = 0
    with writing_behind() as write_behind:
        for number, (frames, path) in enumerate(_paths(run, work)):
            batch = slice(start, start + len(frames))
            originals |= {i: frames[i - start] for i in samples if batch.start <= i < batch.stop}

            def make(path: Callable[[], torch.Tensor] | None = path) -> Parts:
                assert path is not None
                return (path(),)

            others = partial(run.meter.advance, work.units(len(frames)))
            parts = run.ranks.collect(number, make, others)
            if store is not None:
                write_behind(partial(keep_path, run, store, batch, parts[0]))
            start = batch.stop
            work.frames -= len(frames)
    if store is not None and samples:
        _measure(run, store, samples, originals)


def _measure(
    run: EditRun, store: LatentStore, samples: list[int], originals: dict[int, np.ndarray]
) -> None:
    # As the edit samples, whatever solver inverted.
    descending = run.inversion_timesteps[::-1]
    noisiest = run.tensor(store.read(step_name(descending[0]), samples))
    clean = sample(partial(_predict, run), noisiest, run.model.schedule, descending)
    pictures = run.memory.pieces(len(samples), lambda part: decode(run.model, clean[part]))
    values = [
        psnr(originals[i], picture)
        for i, picture in zip(samples, np.concatenate(pictures), strict=True)
    ]
    store.create(RECONSTRUCTION, (len(samples),), "float64")
    store.write(RECONSTRUCTION, slice(None), np.array(values))


def begin_inversion(run: EditRun, store: LatentStore) -> None:
    """Make room for the clean latents and those of every inversion timestep."""
    for name in (CLEAN, *map(step_name, run.inversion_timesteps)):
        store.create(name, *latents_layout(run))


def latents_layout(run: EditRun) -> tuple[tuple[int, ...], str]:
    """Shape (F, 4, h, w) and numpy's name of the precision of the clip's latents on disk."""
    shape = (run.frame_count, 4, *run.cells)
    return shape, str(run.model.latent_dtype).removeprefix("torch.")


def inverted(run: EditRun, clean: torch.Tensor, work: InversionWork) -> torch.Tensor:
    """(1 + timesteps, n, 4, h, w) on the CPU: some frames' clean latents and their whole path."""
    called = 0

    def predict(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        nonlocal called
        called += 1
        return _predict(run, latents, timestep)

    solver = SOLVERS[run.request.solver]
    steps = solver.invert(predict, clean, run.model.schedule, run.inversion_timesteps)
    path = [clean.cpu()]
    for number, (_, noisy) in enumerate(steps):
        path.append(noisy.cpu())
        if called != work.calls[number]:
            run.meter.revise((called - work.calls[number]) * work.frames)
        work.calls[number], called = called, 0
    return torch.stack(path)


def keep_path(run: EditRun, store: LatentStore, frames: slice, path: torch.Tensor) -> None:
    """Write what `inverted` gave for some frames."""
    for name, latents in zip((CLEAN, *map(step_name, run.inversion_timesteps)), path, strict=True):
        store.write(name, frames, latents.numpy())


def _predict(run: EditRun, latents: torch.Tensor, timestep: int) -> torch.Tensor:
    def noise_of(part: slice) -> torch.Tensor:
        return run.model.predict_noise(latents[part], timestep, run.source_embedding)

    noise = run.memory.pieces(len(latents), noise_of)
    run.meter.advance(len(latents))
    return torch.cat(noise)


def step_name(timestep: int) -> str:
    """Name of the array with the latents of a timestep."""
    return f"t{timestep:04d}"


def _batches(frames: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    while batch := list(islice(frames, size)):
        yield np.stack(batch)
