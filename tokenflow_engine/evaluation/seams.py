"""Whether the borders of an edit's windows show: frame-to-frame change there and elsewhere."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .metrics import Picture

LEAST_CHANGE = 0.25
"""Grey levels of 255; a source that changes by less between two frames is taken to stand still."""


@dataclass(frozen=True)
class Seams:
    """Frame-to-frame change of an edit in shares of its source's.

    at_borders, elsewhere: mean over the pairs of neighbouring frames that a border parts, and over
        the others.
    chance: probability, [0, 1], that a pair at a border changes more than one elsewhere; 0.5 where
        they can't be told apart.
    deviation: how many standard deviations of chance alone that is from 0.5 (Mann and Whitney,
        Ann. Math. Stat. 1947); beyond 2 or so a seam shows.
    """

    pairs_at_borders: int
    at_borders: float
    elsewhere: float
    chance: float
    deviation: float


def frame_changes(clip: Iterable[Picture]) -> NDArray[np.float64]:
    """Mean absolute difference, in grey levels of 255, of each frame and the next one."""
    return np.array(
        [float(np.abs(b.astype(np.int16) - a.astype(np.int16)).mean()) for a, b in pairwise(clip)]
    )


def relative_changes(edited: Iterable[Picture], source: Iterable[Picture]) -> NDArray[np.float64]:
    """Frame-to-frame changes of an edit in shares of its source's, (F - 1,)."""
    return frame_changes(edited) / np.maximum(frame_changes(source), LEAST_CHANGE)


def seams(changes: Sequence[float] | NDArray[np.float64], borders: Collection[int]) -> Seams:
    """Compare the changes at some places with those elsewhere.

    changes: for each pair of neighbouring frames. borders: indices of pairs.

    Raises:
        ValueError: where there are no pairs at borders or none elsewhere.
    """
    values = np.asarray(changes, dtype=np.float64)
    at = np.zeros(len(values), dtype=bool)
    at[list(borders)] = True
    here, there = values[at], values[~at]
    if not here.size or not there.size:
        raise ValueError("a comparison needs pairs at borders and elsewhere")
    more = (here[:, None] > there).sum() + 0.5 * (here[:, None] == there).sum()
    chance = float(more / (here.size * there.size))
    spread = math.sqrt((here.size + there.size + 1) / (12 * here.size * there.size))
    return Seams(
        here.size, float(here.mean()), float(there.mean()), chance, (chance - 0.5) / spread
    )
