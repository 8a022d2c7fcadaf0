"""Tables of a comparison as Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from html import escape

from .evaluate import Record
from .methods import METHODS
from .scoring import METRICS
from .summary import Figure, Table

ARROWS = {"higher": "↑", "lower": "↓"}
NOTHING = "-"


def markdown_table(table: Table) -> str:
    """Methods down, metrics across; mean ± spread, metrics without any figure left out."""
    header, rows = _cells(table)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def html_table(table: Table) -> str:
    """The same as `markdown_table`."""
    header, rows = _cells(table)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>\n"


def csv_text(records: Sequence[Record]) -> str:
    """A row for each clip, method and seed; an empty field for what does not apply."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "class", "method", "seed", *METRICS])
    for record in records:
        scores = (record.scores.get(name, math.nan) for name in METRICS)
        shown = [f"{value:.6f}" if math.isfinite(value) else "" for value in scores]
        writer.writerow([record.clip, record.kind, record.method, record.seed, *shown])
    return text.getvalue()


def _cells(table: Table) -> tuple[list[str], list[list[str]]]:
    shown = [name for name in METRICS if any(figures[name].cases for figures in table.values())]
    header = ["Method"]
    for name in shown:
        metric = METRICS[name]
        unit = f", {metric.unit}" if metric.unit else ""
        header.append(f"{metric.title}{unit} {ARROWS[metric.better]}")
    rows = [
        [METHODS[method].title, *(_spoken(figures[name], METRICS[name].digits) for name in shown)]
        for method, figures in table.items()
    ]
    return header, rows


def _spoken(figure: Figure, digits: int) -> str:
    if not figure.cases:
        return NOTHING
    if figure.cases == 1:
        return f"{figure.mean:.{digits}f}"
    return f"{figure.mean:.{digits}f} ± {figure.spread:.{digits}f}"
