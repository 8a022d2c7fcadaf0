"""The cost model and its simulation: what must hold for any times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.farm.cost_model import Footage, StepTimes, storage_bytes
from tokenflow_engine.farm.simulation import play, tasks_of
from tokenflow_engine.farm.simulation_report import WORKERS, write_simulation

TIMES = StepTimes(
    extract=0.1, invert=1.0, edit=2.0, assemble=0.5, blender_start=3.0, engine_start=10.0
)


def test_one_worker_takes_what_all_tasks_take_and_one_engine_start() -> None:
    footage = Footage(shots=3, frames_per_shot=20, chunk=8, batches_per_task=2)
    played = play(footage, TIMES, 1)
    tasks = sum(sum(seconds) for seconds in tasks_of(footage, TIMES).values())
    assert played.wall == pytest.approx(tasks + TIMES.engine_start)
    assert played.wall == pytest.approx(played.busy)
    # Per frame, and once for each Blender task and the engine.
    once = 3 * 3.0 + (3.0 + 3 * 0.5) + 10.0
    assert played.wall == pytest.approx(once + footage.frames * (0.1 + 1.0 + 2.0))


def test_tasks_hold_every_frame_once() -> None:
    footage = Footage(shots=3, frames_per_shot=20, chunk=8, batches_per_task=4)
    inverted = tasks_of(footage, TIMES)["Invert"]
    # Batches of 8, 8 and 4 frames for each shot, four to a task, also across shots.
    assert inverted == [28.0, 28.0, 4.0]


def test_more_workers_are_never_slower_and_never_beat_the_longest_task_of_each_step() -> None:
    footage = Footage(shots=10, frames_per_shot=144)
    walls = [play(footage, TIMES, workers).wall for workers in WORKERS]
    assert walls == sorted(walls, reverse=True)
    longest = sum(max(seconds) for seconds in tasks_of(footage, TIMES).values())
    assert walls[-1] >= longest
    for workers, wall in zip(WORKERS, walls, strict=True):
        assert wall >= walls[0] / workers
    # Ten shots keep ten workers busy in the step Edit, and no more.
    edits = [play(footage, TIMES, workers).steps["Edit"] for workers in (10, 100, 1000)]
    assert edits[1] == edits[2] and edits[0] <= edits[1] + TIMES.engine_start


def test_storage_grows_with_cells_and_steps() -> None:
    one = storage_bytes((512, 512), 50, 40, 1280, 26944)
    assert one["inversion, whole"] == 4 * 64 * 64 * 4 * 51
    assert one["correspondence"] == 26944 * 2 * 2 * 50
    double = storage_bytes((512, 512), 100, 80, 1280, 26944)
    assert double["injected features"] == 2 * one["injected features"]


def test_the_report_is_written_from_times_and_refuses_others(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    file.write_text(json.dumps(TIMES.to_json()))
    written = write_simulation(tmp_path / "out", file, None)
    assert [path.name for path in written] == ["step_times.json", "simulation.md", "simulation.svg"]
    table = written[1].read_text()
    assert "| 1000 |" in table and "100%" in table
    assert written[2].read_text().count("<path") > 10
    file.write_text('{"extract": 1}')
    with pytest.raises(TokenFlowError, match="no step times"):
        write_simulation(tmp_path / "out", file, None)
