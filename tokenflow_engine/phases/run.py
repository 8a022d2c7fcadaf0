"""Everything that the phases of one edit share."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..client.edit_request import LATENT_CELL, EditRequest
from ..diffusion.model import DiffusionModel
from ..editors.plan import EditPlan
from ..media.fit import fit_frame
from ..media.frames import SourceInfo, read_frames
from ..media.latents import LatentStore, StoredLatents
from ..tokenflow.keyframes import KeyframeSchedule
from ..tokenflow.propagation import RULES, Blend, PropagationRule
from ..tokenflow.windows import window_size
from .cache import PhaseCache
from .memory_plan import MemoryBudget
from .meter import ProgressMeter
from .ranks import Alone, Ranks


@dataclass(frozen=True)
class EditRun:
    """One edit on its way through the phases.

    first_frame: where the range starts in the source; frame_count: frames that are edited.
    picked: places in the source of the frames of a preview; None for an edit of the whole range.
    size: (width, height) in pixels of the edited frames.
    content: hash of the fitted frames, hexadecimal.
    source_embedding: (1, L, C). edit_embeddings: (branches, L, C), the unconditional one first, or
        the conditional one alone where the guidance scale is 1.
    keyframes: frame indices counted from the range's first frame.
    inversion_timesteps: ascending.
    only: the frames that this run is about, ascending, where it edits a piece of the clip; all if
        None.
    ranks: the processes that share the edit.
    compiled: whether the UNet's blocks are.
    """

    request: EditRequest
    source: SourceInfo
    model: DiffusionModel
    first_frame: int
    frame_count: int
    size: tuple[int, int]
    content: str
    source_embedding: Tensor
    edit_embeddings: Tensor
    plan: EditPlan
    keyframes: KeyframeSchedule
    inversion_timesteps: tuple[int, ...]
    cache: PhaseCache
    meter: ProgressMeter
    picked: tuple[int, ...] | None = None
    only: tuple[int, ...] | None = None
    ranks: Ranks = field(default_factory=Alone)
    compiled: bool = False
    memory: MemoryBudget = field(default_factory=MemoryBudget)

    def obtain(
        self, phase: str, key: str, make: Callable[[LatentStore | None], None]
    ) -> StoredLatents:
        """The store of a phase, which all processes make together if it is not there.

        make: given the store to fill in the first process, None in the others.
        """
        if not self.ranks.first:
            if not self.ranks.agree(0):
                make(None)
            self.ranks.agree(0)
            return self.cache.obtain(phase, key, _never)
        store = self.cache.find(phase, key)
        self.ranks.agree(int(store is not None))
        store = store or self.cache.make(phase, key, make)
        self.ranks.agree(1)
        return store

    @property
    def rule(self) -> PropagationRule:
        return RULES[self.request.mode]

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the latents."""
        width, height = self.size
        return height // LATENT_CELL, width // LATENT_CELL

    @property
    def thinned(self) -> tuple[int, int] | None:
        """Rows and columns of the self-attention that a draft thins out, the one with the most
        tokens; None in a final edit."""
        return self.cells if self.request.is_draft else None

    @property
    def decodes_tiny(self) -> bool:
        """Whether the pictures come out of the model's tiny autoencoder."""
        return self.request.is_draft and self.model.tiny_vae is not None

    @property
    def frames(self) -> Sequence[int]:
        return range(self.frame_count) if self.only is None else self.only

    def propagated(self, step: int) -> list[int]:
        """Frames that a step propagates; the keyframes are among them if the mode says so."""
        kept = set(self.keyframes[step]) if self.rule.reuses_keyframes else set()
        return [frame for frame in self.frames if frame not in kept]

    def propagated_rows(self, step: int, frames: Sequence[int]) -> list[int]:
        """Places of frames within `propagated(step)`."""
        if self.only is not None:
            every = self.propagated(step)
            return [bisect_left(every, frame) for frame in frames]
        if not self.rule.reuses_keyframes:
            return list(frames)
        return [frame - bisect_left(self.keyframes[step], frame) for frame in frames]

    def blend(self, step: int, frame: int) -> Blend:
        """Which of a step's keyframes a frame is propagated from."""
        return self.rule.blend(frame, self.keyframes[step], self.request.chunk)

    @property
    def guidance_scale(self) -> float:
        """Of classifier-free guidance, as this model wants it."""
        return 1 + (self.request.guidance_scale - 1) * self.model.guidance_gain

    def after(self, step: int) -> int | None:
        """The timestep that a denoising step leads to; None is the clean latent."""
        following = self.plan.timesteps[step + 1 : step + 2]
        return following[0] if following else None

    def window(self, step: int) -> int:
        """Keyframes that a step edits in one UNet call."""
        return window_size(len(self.keyframes[step]), self.request.mode, self.request.window)

    def tensor(self, array: np.ndarray) -> Tensor:
        """Latents from disk, on the model's device."""
        return torch.from_numpy(array).to(self.model.device, self.model.latent_dtype)

    def read(self) -> Iterator[np.ndarray]:
        """The fitted source frames, (H, W, 3) uint8 RGB, one at a time."""
        return fitted_frames(Path(self.request.source), self.source_numbers, self.size)

    @property
    def source_numbers(self) -> Sequence[int]:
        """For each frame its place in the source, ascending."""
        stop = self.first_frame + self.frame_count
        return range(self.first_frame, stop) if self.picked is None else self.picked


def _never(store: LatentStore) -> None:
    raise RuntimeError("the first process has not sealed what it said it had")


def fitted_frames(
    source: Path, numbers: Sequence[int], size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """The frames of a source with these ascending numbers at `size`, one at a time."""
    first, stop = numbers[0], numbers[-1] + 1
    for number, frame in enumerate(read_frames(source, first, stop), first):
        if number in numbers:
            yield fit_frame(frame, size)


def content_of(frames: Iterable[np.ndarray]) -> str:
    """Hash, hexadecimal, of fitted frames (H, W, 3) uint8 and their size."""
    digest = hashlib.blake2b(digest_size=16)
    for number, frame in enumerate(frames):
        if number == 0:
            digest.update(f"{(frame.shape[1], frame.shape[0])}".encode())
        digest.update(frame.tobytes())
    return digest.hexdigest()
