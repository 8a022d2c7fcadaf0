"""Phase 2: what the source alone decides about the edit, once for each denoising step.

That is the correspondence field of every frame at every self-attention layer, and the features that
Plug-and-Play injects. None of it depends on the prompt. No UNet call goes on beyond the last
layer's tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..media.latents import LatentStore, StoredLatents
from ..tokenflow.attention import SourceFrames, SourceKeyframes, SourcePass
from ..tokenflow.propagation import Blend
from ..tokenflow.windows import Window, one_by_one, sweep
from ..tokenflow.wiring import Wiring
from .beside import ReadAhead, WriteBehind, writing_behind
from .cache import key_of
from .invert import Inversion, inversion_key
from .ranks import Parts
from .rates import KEYFRAMES, OTHERS
from .run import EditRun

LAYOUT = "layout"
STORE_FORMAT = 2
"""Raised when the phase keeps other arrays than before."""

Pass = TypeVar("Pass", SourceKeyframes, SourceFrames)


class FramesOfStep(NamedTuple):
    """Some frames of one step. features: whether what is injected into them is wanted too."""

    step: int
    frames: tuple[int, ...]
    features: bool


class Correspondences:
    """Fields and injected features on disk, for any frames of any step."""

    def __init__(self, run: EditRun, store: StoredLatents, layers: tuple[str, ...]) -> None:
        self._run = run
        self._store = store
        self._layers = layers
        # A clip whose frames are all keyframes has none.
        kept = LAYOUT in store.keys()  # noqa: SIM118
        self._ends = np.cumsum(store.read(LAYOUT, slice(None))).tolist() if kept else []
        self._rows = ReadAhead(self._read)
        # From pinned memory rows go to a GPU beside the work there; elsewhere nothing is promised.
        self._pins = run.model.device.type == "cuda"

    def expect(self, coming: Iterable[FramesOfStep]) -> None:
        """Read what `of` is going to be asked for, in order, one ahead."""
        self._rows.expect(coming)

    def of(self, some: FramesOfStep) -> tuple[dict[str, Tensor], Tensor | None]:
        """For each layer fields, int64 (n, 2, S), and the features (n, C, h, w) to inject, which
        only steps that inject them have."""
        stored, kept = self._rows.take(some)
        # They travel to the device as they are stored, at a quarter of the size.
        bits = 8 * stored.element_size()
        every = stored.to(self._run.model.device, non_blocking=self._pins).long() & (2**bits - 1)
        starts = [0, *self._ends[:-1]]
        fields = {
            layer: every[..., start:end]
            for layer, start, end in zip(self._layers, starts, self._ends, strict=True)
        }
        return fields, None if kept is None else self._on_device(kept)

    def keyframe_features(self, step: int, slots: Sequence[int]) -> Tensor:
        """Features to inject into keyframes, by their places in the step's list."""
        kept = self._store.read(_keyframe_features(step), list(slots))
        return self._on_device(torch.from_numpy(kept))

    def _read(self, some: FramesOfStep) -> tuple[Tensor, Tensor | None]:
        rows = self._run.propagated_rows(some.step, list(some.frames))
        fields = self._store.read(_fields(some.step), rows)
        # PyTorch computes little with unsigned integers.
        signed = self._host(fields.view(f"int{8 * fields.itemsize}"))
        kept = self._store.read(_features(some.step), rows) if some.features else None
        return signed, None if kept is None else self._host(kept)

    def _host(self, array: np.ndarray) -> Tensor:
        rows = torch.from_numpy(array)
        return rows.pin_memory() if self._pins else rows

    def _on_device(self, rows: Tensor) -> Tensor:
        return rows.to(self._run.model.device, self._run.model.dtype, non_blocking=self._pins)


def correspondence_key(run: EditRun) -> str:
    return key_of(
        {
            "format": STORE_FORMAT,
            "inversion": inversion_key(run),
            "timesteps": run.plan.timesteps,
            "feature_steps": run.plan.feature_steps,
            "keyframes": run.keyframes,
            "mode": run.request.mode,
            "chunk": run.request.chunk,
            "only": run.only,
        }
    )


def correspondence_units(run: EditRun) -> dict[str, int]:
    """Frames that the phase sends through the UNet when it is not cached."""
    return {
        KEYFRAMES: sum(len(keyframes) for keyframes in run.keyframes),
        OTHERS: sum(len(run.propagated(step)) for step in range(len(run.keyframes))),
    }


def correspond(run: EditRun, wiring: Wiring, inversion: Inversion) -> Correspondences:
    """Find all fields and features, or the result of an earlier run.

    Raises:
        Cancelled: at the next UNet call after the user has cancelled.
    """

    def make(store: LatentStore | None) -> None:
        with writing_behind() as write_behind:
            for step in range(len(run.plan.timesteps)):
                _correspond_step(run, wiring, inversion, step, store, write_behind)

    store = run.obtain("correspond", correspondence_key(run), make)
    return Correspondences(run, store, wiring.layers)


def _correspond_step(
    run: EditRun,
    wiring: Wiring,
    inversion: Inversion,
    step: int,
    store: LatentStore | None,
    write_behind: WriteBehind,
) -> None:
    timestep, keyframes = run.plan.timesteps[step], run.keyframes[step]

    def see(kind: Callable[[slice], Pass], frames: Sequence[int]) -> list[Pass]:
        def one_call(part: slice) -> Pass:
            unet_pass, some = kind(part), list(frames[part])
            latents = inversion.at(timestep, some).to(run.model.dtype)
            embeddings = run.source_embedding.expand(len(some), -1, -1)
            wiring.query_rows = run.memory.plan.query_rows
            wiring.see(unet_pass, latents, timestep, embeddings)
            return unet_pass

        seen = run.memory.pieces(len(frames), one_call)
        work = KEYFRAMES if isinstance(seen[0], SourceKeyframes) else OTHERS
        run.meter.advance(len(frames), work)
        return seen

    every = frozenset(wiring.layers)
    source = SourceKeyframes()
    propagated = run.propagated(step)
    alone = one_by_one(len(keyframes), run.request.chunk)
    number = 0
    for part in sweep(alone, propagated, partial(run.blend, step), run.request.chunk):
        if isinstance(part, Window):
            seen = see(
                lambda _: SourceKeyframes(layers=every), [keyframes[slot] for slot in part.slots]
            )
            for some in seen:
                source.add(some)
            if store is not None and run.plan.injects_features(step):
                features = _array(torch.cat([_features_of(some) for some in seen]))
                place = _keyframe_features(step), len(keyframes), part.slots
                write_behind(partial(_write, store, *place, features))
            continue
        source.forget_before(part.first)
        frames = list(part.frames)

        def find(frames: list[int] = frames, blends: Sequence[Blend] = part.blends) -> Parts:
            def matched(rows: slice) -> SourceFrames:
                return SourceFrames(source, blends[rows], run.rule.propagates_source, layers=every)

            found = [_found(run, wiring, step, seen) for seen in see(matched, frames)]
            return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

        others = partial(run.meter.advance, len(frames), OTHERS)
        parts = run.ranks.collect(number, find, others)
        number += 1
        if store is not None:
            sizes = [source.tokens[layer].shape[1] for layer in wiring.layers]
            places = run.propagated_rows(step, frames)
            write_behind(partial(_keep, run, step, sizes, places, parts, store))


def _found(run: EditRun, wiring: Wiring, step: int, seen: SourceFrames) -> Parts:
    """All layers' fields, int32 (n, 2, tokens), and the features where the step injects them."""
    fields = torch.cat([seen.fields[layer] for layer in wiring.layers], dim=-1).int().cpu()
    if not run.plan.injects_features(step):
        return (fields,)
    return fields, _features_of(seen)


def _features_of(seen: SourcePass) -> Tensor:
    assert seen.kept_features is not None
    return seen.kept_features.cpu()


def _keep(
    run: EditRun, step: int, sizes: list[int], rows: list[int], parts: Parts, store: LatentStore
) -> None:
    """Write what was found into the step's rows; the first call makes room for all.

    sizes: tokens of each layer.
    """
    count = len(run.propagated(step))
    # Most layers have fewer than 65536 tokens, and half the bytes are half the disk.
    index = "uint16" if max(sizes) <= 2**16 else "uint32"
    if LAYOUT not in store.keys():  # noqa: SIM118
        store.create(LAYOUT, (len(sizes),), "int64")
        store.write(LAYOUT, slice(None), np.array(sizes))
    arrays = [parts[0].numpy().astype(index), *map(_array, parts[1:])]
    for name, array in zip((_fields(step), _features(step)), arrays, strict=False):
        _write(store, name, count, rows, array)


def _write(
    store: LatentStore, name: str, count: int, rows: Sequence[int], array: np.ndarray
) -> None:
    """Write some rows of an array of `count`; the first of them make room for all."""
    if rows[0] == 0:
        store.create(name, (count, *array.shape[1:]), array.dtype)
    store.write(name, list(rows), array)


def _array(features: Tensor) -> np.ndarray:
    # numpy has no bfloat16; float32 holds it exactly.
    kept = features.float() if features.dtype == torch.bfloat16 else features
    return kept.numpy()


def _fields(step: int) -> str:
    return f"fields{step:03d}"


def _features(step: int) -> str:
    return f"features{step:03d}"


def _keyframe_features(step: int) -> str:
    return f"keyframe_features{step:03d}"
