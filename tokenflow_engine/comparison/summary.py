"""Means and spreads over clips and seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .evaluate import Record
from .methods import METHODS
from .scoring import METRICS


class Figure(NamedTuple):
    """Mean and standard deviation over `cases` clips and seeds; NaN where there are none."""

    mean: float
    spread: float
    cases: int


Table = dict[str, dict[str, Figure]]
"""By method and metric."""


def summarise(records: Sequence[Record]) -> Table:
    """A figure for each method and metric, in the order of the tables."""
    present = [name for name in METHODS if any(r.method == name for r in records)]
    return {
        name: {
            metric: figure(r.scores.get(metric, math.nan) for r in records if r.method == name)
            for metric in METRICS
        }
        for name in present
    }


def figure(values: Iterable[float]) -> Figure:
    """Mean and population deviation of those values that are numbers."""
    numbers = [value for value in values if math.isfinite(value)]
    if not numbers:
        return Figure(math.nan, math.nan, 0)
    return Figure(float(np.mean(numbers)), float(np.std(numbers)), len(numbers))


def by_class(records: Sequence[Record]) -> dict[str, Table]:
    """A table for each class of edit, in the order in which the clips bring them up."""
    kinds = dict.fromkeys(record.kind for record in records)
    return {kind: summarise([r for r in records if r.kind == kind]) for kind in kinds}


def means(table: Table) -> dict[str, dict[str, float | None]]:
    """Numbers for JSON, which knows no NaN."""
    return _numbers(table, "mean")


def spreads(table: Table) -> dict[str, dict[str, float | None]]:
    return _numbers(table, "spread")


def _numbers(table: Table, part: str) -> dict[str, dict[str, Any]]:
    return {
        method: {
            metric: round(value, 6) if math.isfinite(value := getattr(found, part)) else None
            for metric, found in figures.items()
        }
        for method, figures in table.items()
    }
