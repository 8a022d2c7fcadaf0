"""Phase 2: what the source alone decides about the edit, once for each denoising step.

That is the correspondence field of every frame at every self-attention layer, and the features that
Plug-and-Play injects. None of it depends on the prompt. No UNet call goes on beyond the last
layer's tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..media.latents import LatentStore, StoredLatents
from ..tokenflow.attention import SourceFrames, SourceKeyframes, SourcePass
from ..tokenflow.propagation import Blend
from ..tokenflow.windows import Window, one_by_one, sweep
from ..tokenflow.wiring import Wiring
from .cache import key_of
from .invert import Inversion, inversion_key
from .ranks import Parts
from .rates import KEYFRAMES, OTHERS
from .run import EditRun

LAYOUT = "layout"
STORE_FORMAT = 2
"""Raised when the phase keeps other arrays than before."""

Pass = TypeVar("Pass", SourceKeyframes, SourceFrames)


class Correspondences:
    """Fields and injected features on disk, for any frames of any step."""

    def __init__(self, run: EditRun, store: StoredLatents, layers: tuple[str, ...]) -> None:
        self._run = run
        self._store = store
        self._layers = layers
        # A clip whose frames are all keyframes has none.
        kept = LAYOUT in store.keys()  # noqa: SIM118
        self._ends = np.cumsum(store.read(LAYOUT, slice(None))).tolist() if kept else []

    def fields(self, step: int, frames: list[int]) -> dict[str, Tensor]:
        """For each layer int64 (n, 2, S)."""
        rows = self._run.propagated_rows(step, frames)
        stored = self._store.read(_fields(step), rows).astype(np.int64)
        every = torch.from_numpy(stored).to(self._run.model.device)
        starts = [0, *self._ends[:-1]]
        return {
            layer: every[..., start:end]
            for layer, start, end in zip(self._layers, starts, self._ends, strict=True)
        }

    def features(self, step: int, frames: list[int]) -> Tensor:
        """(n, C, h, w) features to inject; only for steps that inject them."""
        return self._tensor(_features(step), self._run.propagated_rows(step, frames))

    def keyframe_features(self, step: int, slots: Sequence[int]) -> Tensor:
        """`features` of keyframes by their places in the step's list."""
        return self._tensor(_keyframe_features(step), list(slots))

    def _tensor(self, name: str, rows: list[int]) -> Tensor:
        stored = self._store.read(name, rows)
        return torch.from_numpy(stored).to(self._run.model.device, self._run.model.dtype)


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
        for step in range(len(run.plan.timesteps)):
            _correspond_step(run, wiring, inversion, step, store)

    store = run.obtain("correspond", correspondence_key(run), make)
    return Correspondences(run, store, wiring.layers)


def _correspond_step(
    run: EditRun, wiring: Wiring, inversion: Inversion, step: int, store: LatentStore | None
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
                _write(store, _keyframe_features(step), len(keyframes), part.slots, features)
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
            _keep(run, step, sizes, run.propagated_rows(step, frames), parts, store)


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
