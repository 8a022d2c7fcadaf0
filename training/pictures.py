"""Rendered pictures with captions' attributes and object masks, in shards on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenflow_engine.toyworld import ATTRIBUTES, Scene, render, sample_scene

from .plan import Plan
from .state import save_arrays
from .workers import Worker

Array = NDArray[Any]


def scene_of(plan: Plan, index: int) -> Scene:
    """The scene of picture `index`: the same in every run."""
    return sample_scene(np.random.default_rng((plan.seed, index)))


def shard_path(state: Path, number: int) -> Path:
    return state / "pictures" / f"{number:04d}.npz"


def render_shards(worker: Worker, plan: Plan, state: Path, pictures: int) -> None:
    """Draws the shards that are missing, each worker its share of them."""
    for number in range(worker.rank, pictures // plan.shard, worker.count):
        if worker.should_stop():
            return
        path = shard_path(state, number)
        if path.exists():
            continue
        scenes = [scene_of(plan, number * plan.shard + offset) for offset in range(plan.shard)]
        drawn = [render(scene, plan.size, plan.size) for scene in scenes]
        save_arrays(
            path,
            images=np.stack([picture.image for picture in drawn]),
            masks=np.stack([_cell_shares(picture.coverage) for picture in drawn]),
            attributes=np.array([_codes(scene) for scene in scenes], np.uint8),
        )


def _cell_shares(coverage: Array) -> Array:
    """The object's share of every 4 x 4 pixels, as uint8 of 255."""
    height, width = coverage.shape
    cells = coverage.reshape(height // 4, 4, width // 4, 4).mean((1, 3))
    return np.asarray((cells * 255 + 0.5).astype(np.uint8))


def _codes(scene: Scene) -> list[int]:
    fields = asdict(scene)
    return [values.index(fields[name]) for name, values in ATTRIBUTES.items()]


def scene_of_codes(codes: Sequence[int]) -> Scene:
    """A scene with the coded attributes and default details, for its captions."""
    pairs = zip(ATTRIBUTES.items(), codes, strict=True)
    return Scene(**{name: values[int(code)] for (name, values), code in pairs})


class Pictures:
    """All shards present, memory-mapped: images uint8 [N, size, size, 3] by index."""

    def __init__(self, plan: Plan, state: Path, limit: int | None = None) -> None:
        self._shard = plan.shard
        paths = sorted((state / "pictures").glob("[0-9]*.npz"))
        if limit is not None:
            paths = paths[: limit // plan.shard]
        expected = [shard_path(state, number) for number in range(len(paths))]
        if not paths or paths != expected:
            raise FileNotFoundError("The pictures are not all drawn yet: run `data` first.")
        self._files = [_map_member(path, "images") for path in paths]
        arrays = [np.load(path) for path in paths]
        self.masks: Array = np.concatenate([each["masks"] for each in arrays])
        self.attributes: Array = np.concatenate([each["attributes"] for each in arrays])

    def __len__(self) -> int:
        return len(self._files) * self._shard

    def __getitem__(self, index: int) -> Array:
        return np.asarray(self._files[index // self._shard][index % self._shard])

    def batch(self, indices: Sequence[int]) -> Array:
        """uint8 [len(indices), size, size, 3]."""
        return np.stack([self[int(index)] for index in indices])


def _map_member(path: Path, name: str) -> Array:
    """Memory-maps one array of an uncompressed .npz, which numpy itself only reads whole."""
    import zipfile

    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        info = archive.getinfo(f"{name}.npy")
        version = np.lib.format.read_magic(member)
        shape, _, dtype = (
            np.lib.format.read_array_header_1_0(member)
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0(member)
        )
        header = member.tell()
    with path.open("rb") as file:
        # A zip member's data begins after its local header, whose name and extra lengths are
        # at bytes 26 to 30.
        file.seek(info.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    start = info.header_offset + 30 + int(lengths.sum()) + header
    return np.memmap(path, dtype, "r", start, shape)
