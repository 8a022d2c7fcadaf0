"""Runs of a comparison put together: each clip, method and seed counts once."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np

from tokenflow_engine.comparison.evaluate import Record
from tokenflow_engine.comparison.pool import (
    by_every_method,
    of_every_clip,
    one_of_each_class,
    pooled,
    read_records,
    without,
    write,
)
from tokenflow_engine.comparison.scoring import METRICS
from tokenflow_engine.comparison.tables import csv_text


def record(clip: str, method: str, success: float = 0.5, kind: str = "ground") -> Record:
    scores = dict.fromkeys(METRICS, math.nan) | {"edit_success": success, "warp_error": 2.0}
    return Record(clip, kind, method, 0, scores)


FIRST = [record("00_a", "vae", 0.0), record("00_a", "smooth"), record("00_a", "joint")]
SECOND = [
    record("01_b", "smooth", 1.0, "sky"),
    record("01_b", "vae", 0.0, "sky"),
    record("00_a", "smooth", 0.9),
]


def test_a_trial_of_two_runs_counts_once_as_in_the_first() -> None:
    found = pooled([FIRST, SECOND])
    assert [(r.clip, r.method) for r in found] == [
        ("00_a", "vae"),
        ("00_a", "smooth"),
        ("00_a", "joint"),
        ("01_b", "vae"),
        ("01_b", "smooth"),
    ]
    assert found[1].scores["edit_success"] == 0.5


def test_no_mean_is_over_other_clips_than_its_neighbour() -> None:
    found = pooled([FIRST, SECOND])
    assert {r.clip for r in by_every_method(found)} == {"00_a"}
    assert {r.method for r in of_every_clip(found)} == {"vae", "smooth"}
    assert one_of_each_class(found) == {"ground": "00_a", "sky": "01_b"}


def test_a_metric_is_left_out() -> None:
    kept = without(FIRST, ["warp_error"])
    assert all(math.isnan(r.scores["warp_error"]) for r in kept)
    assert [r.scores["edit_success"] for r in kept] == [0.0, 0.5, 0.5]


def test_records_outlive_their_file(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text(csv_text(FIRST), encoding="utf-8")
    again = read_records(tmp_path / "some.csv")
    assert csv_text(again) == csv_text(FIRST)
    assert math.isnan(again[0].scores["truth_psnr"])


def test_the_whole_is_written(tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for run, records in zip(runs, (FIRST, SECOND), strict=True):
        (run / "frames").mkdir(parents=True)
        (run / "evaluation.csv").write_text(csv_text(records), encoding="utf-8")
        (run / "evaluation.json").write_text(json.dumps({"settings": {"steps": 4}}))
    cv2.imwrite(str(runs[0] / "frames" / "01_00_a.png"), np.zeros((200, 2000, 3), np.uint8))
    write(runs, tmp_path / "whole")
    sheet = cv2.imread(str(tmp_path / "whole" / "frames" / "00_a.jpg"))
    assert sheet is not None and sheet.shape == (100, 1000, 3)
    text = (tmp_path / "whole" / "evaluation.md").read_text(encoding="utf-8")
    assert "## Every method, one clip" in text and "## Every clip, 2 clips" in text
    assert "steps 4" in text
    assert "<svg" in (tmp_path / "whole" / "evaluation.svg").read_text(encoding="utf-8")
    assert "frames/00_a.jpg" in (tmp_path / "whole" / "index.html").read_text(encoding="utf-8")
