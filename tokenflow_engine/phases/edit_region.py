"""Where an edit happens: the cells about whose noise the two prompts disagree (DiffEdit, Couairon
et al., ICLR 2023, arXiv:2210.11427, section 3.2).

Outside of it the latents stay the source's own, step by step, and the pictures keep the source's
pixels. DiffEdit noises a picture anew and averages ten draws; the inverted latents, which the edit
starts from anyway, need no draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..media.compositing import cells_of, share_of_edit
from ..media.latents import LatentStore, StoredLatents
from ..tokenflow.attention import EditedFrames
from ..tokenflow.keyframes import chunks
from ..tokenflow.wiring import Wiring
from .beside import by_all_cores
from .cache import key_of
from .invert import Inversion, inversion_key
from .rates import CUTS, OTHERS
from .run import EditRun

NOISE_SHARES = (0.3, 0.5, 0.7)
"""Shares of the diffusion at which the prompts are compared: structure is settled below them, and
blurred above."""

LEAST_CONTRAST = 2.0
"""How many times more the prompts must disagree inside than outside. A style that is everywhere
makes no such difference, and is then let everywhere."""

LEAST_SEPARABILITY = 2 / np.pi
"""Share of the disagreements' variance that two classes must explain: of a single normal
distribution the best cut explains so much. Where light changes as a whole, as from night to day,
the disagreements are no more than that; there is no region then."""

SURE = 1.2
"""How far from the cut a cell is sure, in distances of its class's mean. In nine clips the objects
and grounds reached 1.4 and more, and what was taken for one 1.1 at most."""

SURE_SHARE = 0.25
"""Of a class's cells, the share that is sure in any case: a narrow class has none so far out."""

REGION_FORMAT = 2
"""Raised when the same disagreements would give another region."""

DISAGREEMENT, EDITED, SHARES = "disagreement", "edited", "shares"
_BINS = 256
_SMALLEST = 1e-6


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """How far two predictions of the noise, (n, 4, h, w), are apart in each cell, (n, h, w)."""
    return (first - second).abs().mean(1)


class Classes(NamedTuple):
    """Two classes of values by the bins of their histogram.

    split: the first bin of the upper class. lower, upper: the classes' means, in bins.
    separability: the share of the values' variance that lies between the classes, [0, 1].
    """

    split: int
    lower: float
    upper: float
    separability: float


def otsu_classes(histogram: NDArray[np.int64]) -> Classes:
    """The two classes that differ the most (Otsu, IEEE Transactions on Systems, Man, and
    Cybernetics, 1979).

    histogram: counts (bins,), not all zero.
    """
    weights = histogram / histogram.sum()
    places = np.arange(len(histogram))
    below, mass = np.cumsum(weights), np.cumsum(weights * places)
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = np.nan_to_num(mass / below)
        upper = np.nan_to_num((mass[-1] - mass) / (1 - below), posinf=0, neginf=0)
    between = below * (1 - below) * (upper - lower) ** 2
    split = int(np.argmax(between))
    spread = float((weights * (places - mass[-1]) ** 2).sum())
    explained = float(between[split]) / spread if spread else 0.0
    return Classes(split + 1, float(lower[split]), float(upper[split]), explained)


class Thresholds(NamedTuple):
    """Disagreements of a clip. cut: from which on a cell is edited. outside, inside: up to which
    and from which on that is sure."""

    outside: float
    cut: float
    inside: float


def sure_bins(histogram: NDArray[np.int64], classes: Classes) -> Thresholds:
    """The thresholds of two classes, as edges of bins."""
    cut, counted = classes.split, np.cumsum(histogram)
    low = np.searchsorted(counted, SURE_SHARE * counted[cut - 1]) + 1
    high = np.searchsorted(counted, counted[-1] - SURE_SHARE * (counted[-1] - counted[cut - 1]))
    return Thresholds(
        max(cut - SURE * (cut - classes.lower), float(low)),
        cut,
        min(cut + SURE * (classes.upper - cut), float(high)),
    )


def cells_inside(found: NDArray[np.float32], thresholds: Thresholds) -> NDArray[np.bool_]:
    """The cells (n, h, w) that are edited, from the disagreement in each.

    An island of edited cells must hold a sure one, or it is the source's; a hole must hold a sure
    one too, or it is filled (hysteresis as in Canny, IEEE PAMI 1986). So an object whose ground is
    changed stays, however small, and a patch of that ground about which the prompts happen to
    disagree less does not.
    """
    return np.stack([_without_doubtful(frame, thresholds) for frame in found])


def _without_doubtful(found: NDArray[np.float32], thresholds: Thresholds) -> NDArray[np.bool_]:
    inside = found >= thresholds.cut
    sure = found >= thresholds.inside, found <= thresholds.outside
    kept = _components_with(inside, sure[0])
    return np.asarray(~_components_with(~kept, sure[1]))


def _components_with(cells: NDArray[np.bool_], sure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected cells among which there is a sure one; (h, w)."""
    _, labels = cv2.connectedComponents(cells.astype(np.uint8), connectivity=4)
    return np.asarray(cells & np.isin(labels, np.unique(labels[cells & sure])))


def softened(inside: Tensor) -> Tensor:
    """Weights (n, h, w) in [0, 1] of a region given as bool (n, h, w): all of it counts fully, the
    cell around it in part, so that no seam is cut."""
    padded = functional.pad(inside.float()[:, None], (1, 1, 1, 1), mode="replicate")
    return torch.maximum(inside.float(), functional.avg_pool2d(padded, 3, 1)[:, 0])


@dataclass(frozen=True)
class EditRegion:
    """The cells of each frame that are edited.

    found: the disagreements. thresholds: what they say. cut: how much of each pixel the edit gives,
        and the cells that are edited: those within, and those of which it gives any pixel for the
        most part.
    """

    run: EditRun
    inversion: Inversion
    found: StoredLatents
    thresholds: Thresholds
    cut: StoredLatents

    def inside(self, frames: list[int]) -> NDArray[np.bool_]:
        """The cells about which the prompts disagree, (n, h, w)."""
        return cells_inside(self.found.read(DISAGREEMENT, frames), self.thresholds)

    def shares(self, frames: list[int]) -> NDArray[np.float32]:
        """How much of each pixel the edit gives, (n, H, W) in [0, 1]; see `share_of_edit`."""
        return np.asarray(self.cut.read(SHARES, frames) / np.float32(255))

    def weights(self, frames: list[int]) -> Tensor:
        """(n, 1, h, w) in [0, 1]: the edit's share of each cell's latents."""
        return softened(torch.from_numpy(self.cut.read(EDITED, frames)))[:, None]

    def blended(self, frames: list[int], latents: Tensor, timestep: int | None) -> Tensor:
        """Edited latents (n, 4, h, w) inside, the source's at the same timestep outside.

        timestep: None stands for the clean latents.
        """
        inversion = self.inversion
        source = inversion.clean(frames) if timestep is None else inversion.at(timestep, frames)
        return torch.lerp(source.cpu(), latents, self.weights(frames).to(latents.dtype))


def region_key(run: EditRun) -> str:
    return key_of({"inversion": inversion_key(run), "prompt": run.request.prompt})


def region_units(run: EditRun) -> dict[str, int]:
    """Branches times frames that finding the region sends through the UNet, and frames that are cut
    along it."""
    if not run.request.finds_region:
        return {}
    return {OTHERS: 2 * len(NOISE_SHARES) * run.frame_count, CUTS: run.frame_count}


def with_region(run: EditRun, units: Mapping[str, int]) -> dict[str, int]:
    """An edit's units of work and those of finding its region."""
    region = region_units(run)
    return {kind: units.get(kind, 0) + region.get(kind, 0) for kind in {**units, **region}}


def find_region(run: EditRun, wiring: Wiring, inversion: Inversion) -> EditRegion | None:
    """The region of an edit, or None where the whole picture is edited.

    Raises:
        Cancelled: at the next UNet call after the user has cancelled.
    """
    if not run.request.finds_region:
        return None

    def make(store: LatentStore | None) -> None:
        if store is None:
            return
        store.create(DISAGREEMENT, (run.frame_count, *run.cells), "float32")
        for some in chunks(run.frames, run.request.chunk):
            frames = list(some)
            find = partial(_disagreement, run, wiring, inversion, frames)
            store.write(DISAGREEMENT, frames, np.concatenate(run.memory.pieces(len(frames), find)))

    store = run.obtain("region", region_key(run), make)
    thresholds = _thresholds(run, store)
    if thresholds is None:
        return None
    key = key_of({"region": region_key(run), "format": REGION_FORMAT})
    cut = run.obtain("cut", key, partial(_cut_out, run, store, thresholds))
    return EditRegion(run, inversion, store, thresholds, cut)


def _disagreement(
    run: EditRun, wiring: Wiring, inversion: Inversion, every: list[int], rows: slice
) -> np.ndarray:
    model, frames = run.model, every[rows]
    count = len(frames)
    both = torch.cat([run.source_embedding, run.edit_embeddings[-1:]])
    embeddings = both.repeat_interleave(count, 0)
    last = len(model.schedule.alphas_cumprod)
    total = torch.zeros(())
    for share in NOISE_SHARES:
        timestep = min(run.inversion_timesteps, key=lambda t: abs(t - share * last))
        latents = inversion.at(timestep, frames).repeat(2, 1, 1, 1)
        alone = EditedFrames(2, False, False, False, frozenset())
        output = wiring.run(alone, latents.to(model.dtype), timestep, embeddings)
        noise = model.schedule.noise(output.to(latents.dtype), latents, timestep)
        total = total + disagreement(*noise.chunk(2)).float().cpu()
        run.meter.advance(2 * count, OTHERS)
    return (total / len(NOISE_SHARES)).numpy()


def _cut_out(
    run: EditRun, found: StoredLatents, thresholds: Thresholds, store: LatentStore | None
) -> None:
    if store is None:
        return
    width, height = run.size
    store.create(EDITED, found.shape(DISAGREEMENT), "bool")
    store.create(SHARES, (run.frame_count, height, width), "uint8")

    def cut(numbered: tuple[int, NDArray[np.uint8]]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        frame, source = numbered
        (inside,) = cells_inside(found.read(DISAGREEMENT, [frame]), thresholds)
        share = share_of_edit(source, inside)
        return inside | cells_of(share, run.cells), share

    for frame, (cells, share) in enumerate(by_all_cores(cut, enumerate(run.read()))):
        store.write(EDITED, frame, cells)
        store.write(SHARES, frame, np.rint(255 * share))
        run.meter.advance(1, CUTS)


def _thresholds(run: EditRun, store: StoredLatents) -> Thresholds | None:
    """What parts the clip's cells in two classes, on a logarithmic scale; None if nothing does."""
    logs = [
        np.log(np.maximum(store.read(DISAGREEMENT, list(some)), _SMALLEST)).ravel()
        for some in chunks(run.frames, run.request.chunk)
    ]
    low, high = min(map(np.min, logs)), max(map(np.max, logs))
    if high - low < np.log(LEAST_CONTRAST):
        return None
    parts = [np.histogram(part, _BINS, (low, high))[0] for part in logs]
    histogram = np.asarray(np.sum(parts, axis=0), np.int64)
    classes = otsu_classes(histogram)
    width = (high - low) / _BINS
    if (classes.upper - classes.lower) * width < np.log(LEAST_CONTRAST):
        return None
    if classes.separability <= LEAST_SEPARABILITY:
        return None
    bins = sure_bins(histogram, classes)
    return Thresholds(*(float(np.exp(low + place * width)) for place in bins))
