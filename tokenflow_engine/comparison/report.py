"""The files of a comparison: tables, figures, plot, and pages of frames side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..client.errors import TokenFlowError
from ..media.pictures import contact_sheet, write_png
from ..media.staging import full_disk_explained
from .evaluate import ClipOutcome, Record
from .methods import METHODS
from .plot import scatter
from .summary import by_class, means, spreads, summarise
from .tables import csv_text, html_table, markdown_table

MARKDOWN, CSV, JSON = "evaluation.md", "evaluation.csv", "evaluation.json"
PLOT, PAGE, FRAMES = "evaluation.svg", "index.html", "frames"
COLUMNS = 6
"""Frames of each row in a picture of frames side by side."""

STYLE = """\
body { font-family: sans-serif; margin: 2em; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { border: 1px solid #ccc; padding: 0.3em 0.6em; text-align: right; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; }"""


class Report:
    """Written anew after each clip, so that a comparison which is ended early leaves what it has.

    folder: made if missing. settings: what was asked for, for the reader; values for JSON.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], clips: int) -> None:
        self._folder = folder
        self._settings = dict(settings)
        self._clips = clips
        self._records: list[Record] = []
        self._sheets: dict[str, tuple[str, str]] = {}
        if folder.exists() and not folder.is_dir():
            raise _unwritable(folder, "is a file")
        try:
            (folder / FRAMES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, "can't be written to") from error

    def add(self, outcome: ClipOutcome) -> None:
        """Take in one clip and write everything.

        Raises:
            TokenFlowError: code "no_space", when the disk is full.
        """
        self._records += outcome.records
        number = len(self._sheets) + 1
        place = f"{FRAMES}/{number:02d}_{re.sub(r'[^A-Za-z0-9_.-]', '_', outcome.clip.name)}.png"
        clip = outcome.clip
        prompts = f'"{clip.source_prompt}" to "{clip.target_prompt}" ({clip.kind})'
        self._sheets[clip.name] = (place, prompts)
        with full_disk_explained(self._folder):
            _write_sheet(self._folder / place, outcome)
            for name, text in self._texts().items():
                (self._folder / name).write_text(text, encoding="utf-8")

    def to_json(self) -> dict[str, Any]:
        """Means by method and metric, their spreads, the same by class of edit, the settings."""
        table = summarise(self._records)
        return {
            "methods": means(table),
            "spreads": spreads(table),
            "classes": {kind: means(t) for kind, t in by_class(self._records).items()},
            "clips": list(self._sheets),
            "settings": self._settings,
            "output": str(self._folder),
        }

    def table(self) -> str:
        """The main table as Markdown."""
        return markdown_table(summarise(self._records))

    def _texts(self) -> dict[str, str]:
        return {
            CSV: csv_text(self._records),
            JSON: json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n",
            PLOT: scatter(summarise(self._records)),
            MARKDOWN: self._markdown(),
            PAGE: self._page(),
        }

    @property
    def _scope(self) -> str:
        settings = ", ".join(f"{name} {_spoken(v)}" for name, v in self._settings.items())
        return (
            f"{len(self._sheets)} of {self._clips} clips; {settings}. Mean ± standard deviation "
            "over clips and seeds; docs/evaluation.md defines methods and metrics."
        )

    def _markdown(self) -> str:
        parts = ["# Comparison\n", self._scope + "\n", markdown_table(summarise(self._records))]
        parts.append(f"![Edit success against warp error]({PLOT})\n")
        classes = by_class(self._records)
        for kind, table in classes.items() if len(classes) > 1 else ():
            parts += [f"## {kind.capitalize()}\n", markdown_table(table)]
        parts.append("## Frames\n")
        for name, (place, prompts) in self._sheets.items():
            parts.append(f"**{name}**: {prompts}\n\n![{name}]({place})\n")
        return "\n".join(parts)

    def _page(self) -> str:
        parts = [f"<h1>Comparison</h1>\n<p>{escape(self._scope)}</p>"]
        parts.append(html_table(summarise(self._records)))
        parts.append(f'<img src="{PLOT}" alt="Edit success against warp error">')
        classes = by_class(self._records)
        for kind, table in classes.items() if len(classes) > 1 else ():
            parts.append(f"<h2>{escape(kind.capitalize())}</h2>\n{html_table(table)}")
        for name, (place, prompts) in self._sheets.items():
            parts.append(
                f"<h2>{escape(name)}</h2>\n<p>{escape(prompts)}</p>\n"
                f'<img src="{escape(place)}" alt="{escape(name)}">'
            )
        body = "\n".join(parts)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>Comparison</title>\n<style>\n{STYLE}\n</style></head>\n"
            f"<body>\n{body}\n</body></html>\n"
        )


def _write_sheet(path: Path, outcome: ClipOutcome) -> None:
    rows: dict[str, Sequence[Any]] = {"Source": outcome.truth.source}
    rows |= {METHODS[n].title: frames for n, frames in outcome.pictures.items() if n != "copy"}
    if outcome.truth.perfect is not None:
        rows["Truth"] = outcome.truth.perfect
    write_png(path, contact_sheet(list(rows.values()), list(rows), COLUMNS))


def _spoken(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _unwritable(folder: Path, why: str) -> TokenFlowError:
    return TokenFlowError("bad_request", f'"{folder}" {why}.', "Choose another --output folder.")
