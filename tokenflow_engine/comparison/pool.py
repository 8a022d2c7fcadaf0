"""Several comparisons as one: `python -m tokenflow_engine.comparison.pool RUN ... --output DIR`.

For comparisons whose clips were shared among runs. RUN are the folders of `tokenflow evaluate`; a
clip, method and seed that is in two of them counts once, as in the first.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import cv2
import numpy as np

from .evaluate import Record
from .methods import METHODS
from .plot import scatter
from .report import CSV, FRAMES, JSON, MARKDOWN, PAGE, PLOT, STYLE
from .scoring import METRICS
from .summary import by_class, summarise
from .tables import csv_text, html_table, markdown_table

SHEET_WIDTH = 1000
"""Pixels; larger pictures of frames side by side are shrunk."""
JPEG_QUALITY = 85


def read_records(path: Path) -> list[Record]:
    """The rows of an `evaluation.csv`."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Record(
                row["clip"],
                row["class"],
                row["method"],
                int(row["seed"]),
                {name: float(row[name] or math.nan) for name in METRICS},
            )
            for row in csv.DictReader(file)
        ]


def pooled(runs: Iterable[Sequence[Record]]) -> list[Record]:
    """The records of all runs, each clip, method and seed once; by clip, methods in their order."""
    found: dict[tuple[str, str, int], Record] = {}
    for record in (record for run in runs for record in run):
        found.setdefault((record.clip, record.method, record.seed), record)
    order = list(METHODS)
    return sorted(found.values(), key=lambda r: (r.clip, order.index(r.method), r.seed))


def without(records: Iterable[Record], metrics: Iterable[str]) -> list[Record]:
    """The records with some metrics left out, as the times of a machine that had other work."""
    blank = dict.fromkeys(metrics, math.nan)
    return [replace(record, scores=record.scores | blank) for record in records]


def by_every_method(records: Sequence[Record]) -> list[Record]:
    """The records of the clips that every method edited."""
    return [r for r in records if _methods(records, r.clip) == {x.method for x in records}]


def of_every_clip(records: Sequence[Record]) -> list[Record]:
    """The records of the methods that edited every clip."""
    common = set.intersection(*(_methods(records, r.clip) for r in records))
    return [record for record in records if record.method in common]


def _methods(records: Sequence[Record], clip: str) -> set[str]:
    return {record.method for record in records if record.clip == clip}


def one_of_each_class(records: Sequence[Record]) -> dict[str, str]:
    """The first clip of each class."""
    return {r.kind: r.clip for r in reversed(records)}


def _tables(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Headings, and what stands below them."""
    every, main = by_every_method(records), of_every_clip(records)
    parts = [(f"Every method, {_count(every)}", every)] if every else []
    parts.append((f"Every clip, {_count(main)}", main))
    for kind in by_class(main):
        of_kind = [record for record in main if record.kind == kind]
        parts.append((f"{kind.capitalize()}, {_count(of_kind)}", of_kind))
    return parts


def _count(records: Sequence[Record]) -> str:
    count = len({record.clip for record in records})
    return "one clip" if count == 1 else f"{count} clips"


def _write_sheets(runs: Sequence[Path], output: Path, clips: Iterable[str]) -> dict[str, str]:
    """Shrunk pictures of the clips' frames side by side; their places by clip."""
    places = {}
    (output / FRAMES).mkdir(parents=True, exist_ok=True)
    for clip in clips:
        found = [path for run in runs for path in sorted((run / FRAMES).glob(f"*_{clip}.png"))]
        if not found:
            continue
        picture = np.asarray(cv2.imread(str(found[0])))
        scale = min(1, SHEET_WIDTH / picture.shape[1])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        places[clip] = f"{FRAMES}/{clip}.jpg"
        cv2.imwrite(str(output / places[clip]), small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return places


def write(runs: Sequence[Path], output: Path, left_out: Sequence[str] = ()) -> None:
    """Tables, plot, page, and one picture of frames for each class.

    left_out: metrics that are not shown.
    """
    records = without(pooled(read_records(run / CSV) for run in runs), left_out)
    settings = json.loads((runs[0] / JSON).read_text(encoding="utf-8"))["settings"]
    scope = ", ".join(f"{name} {value}" for name, value in settings.items())
    sheets = _write_sheets(runs, output, one_of_each_class(records).values())
    plotted = by_every_method(records) or of_every_clip(records)
    markdown = [f"# Comparison\n\n{scope}.\n"]
    page = [f"<h1>Comparison</h1>\n<p>{escape(scope)}.</p>", f'<img src="{PLOT}" alt="Plot">']
    for heading, part in _tables(records):
        markdown.append(f"## {heading}\n\n{markdown_table(summarise(part))}")
        page.append(f"<h2>{escape(heading)}</h2>\n{html_table(summarise(part))}")
    for clip, place in sheets.items():
        markdown.append(f"![{clip}]({place})\n")
        page.append(f'<h2>{escape(clip)}</h2>\n<img src="{escape(place)}" alt="{escape(clip)}">')
    body = "\n".join(page)
    texts = {
        CSV: csv_text(records),
        MARKDOWN: "\n".join(markdown),
        PLOT: scatter(summarise(plotted)),
        PAGE: f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Comparison</title>\n<style>\n{STYLE}\n</style></head>\n<body>\n{body}\n"
        "</body></html>\n",
    }
    for name, text in texts.items():
        (output / name).write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--without", metavar="METRIC", choices=list(METRICS), action="append", default=[]
    )
    options = parser.parse_args()
    write(options.runs, options.output, options.without)


if __name__ == "__main__":
    main()
