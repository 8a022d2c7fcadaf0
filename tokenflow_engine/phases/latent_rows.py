"""A clip's latents, some frames at a time, in memory or on disk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..media.latents import LatentStore, StoredLatents


class LatentRows(Protocol):
    """Latents (F, 4, h, w) on the CPU, of which a call reads or replaces some; a tensor is one."""

    def __getitem__(self, frames: list[int], /) -> Tensor: ...

    def __setitem__(self, frames: list[int], rows: Tensor, /) -> None: ...


@dataclass(frozen=True)
class RowsOnDisk:
    """One array of a store.

    frames: the clip's frames that it holds, ascending; all if None.
    """

    store: StoredLatents
    key: str
    frames: Sequence[int] | None = None

    def __getitem__(self, frames: list[int]) -> Tensor:
        return torch.from_numpy(self.store.read(self.key, self._places(frames)))

    def __setitem__(self, frames: list[int], rows: Tensor) -> None:
        if not isinstance(self.store, LatentStore):
            raise TypeError("a sealed store can't be written")
        self.store.write(self.key, self._places(frames), rows.numpy())

    def _places(self, frames: list[int]) -> list[int]:
        if self.frames is None:
            return frames
        return [bisect_left(self.frames, frame) for frame in frames]
