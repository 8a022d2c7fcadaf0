"""The whole way through a real engine process: the real edit, the embedded model, the socket."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.client.jobs import Job, JobState
from tokenflow_engine.client.launcher import EngineCommand
from tokenflow_engine.client.progress import PHASES
from tokenflow_engine.client.session import EngineSession

FRAMES = 3
GENEROUS_SECONDS = 300.0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Holds a source of three pictures: a blue square that moves over red."""
    path = Path(tempfile.mkdtemp(prefix="tf"))
    (path / "source").mkdir()
    for n in range(FRAMES):
        pixels = np.full((64, 64, 3), (200, 30, 30), np.uint8)
        pixels[20:44, 8 + 4 * n : 32 + 4 * n] = (30, 30, 200)
        Image.fromarray(pixels).save(path / "source" / f"{n:04d}.png")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[EngineSession]:
    """One engine for all tests here, since loading torch takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENFLOW_CACHE", str(folder / "cache"))
        root = Path(__file__).resolve().parents[1]
        session = EngineSession(EngineCommand(Path(sys.executable), root), folder / "run")
        yield session
        session.close()


def request(folder: Path, output: str, steps: int) -> EditRequest:
    return EditRequest(
        source=str(folder / "source"),
        prompt="a green cube",
        output=str(folder / output),
        steps=steps,
        inversion_steps=steps,
        device="cpu",
    )


def follow(session: EngineSession, job: Job, wanted: Callable[[], bool]) -> list[str]:
    """Poll until it is as wanted; return the phases that were seen, in order."""
    deadline = time.monotonic() + GENEROUS_SECONDS
    phases: list[str] = []
    while not wanted():
        assert time.monotonic() < deadline, f"the job hangs at {job.progress}"
        for changed in session.poll():
            if changed is job and job.progress and job.progress.phase not in phases:
                phases.append(job.progress.phase)
        time.sleep(0.005)
    return phases


def test_an_edit_travels_through_the_socket_and_leaves_its_pictures(
    session: EngineSession, folder: Path
) -> None:
    job = session.submit(request(folder, "edited", steps=1))
    phases = follow(session, job, lambda: job.state.finished)
    assert job.state is JobState.DONE, job.error
    assert phases == [phase for phase in PHASES if phase in phases] and "invert" in phases
    assert job.result is not None and job.result.frame_count == FRAMES
    output = Path(job.result.output)
    assert output == (folder / "edited").resolve()
    names = sorted(path.name for path in output.iterdir())
    assert names == [*(f"{n:05d}.png" for n in range(FRAMES)), "edit.json"]
    assert json.loads((output / "edit.json").read_text())["request"]["prompt"] == "a green cube"
    assert Image.open(output / "00000.png").size == (64, 64)


def test_a_cancelled_edit_ends_at_its_next_step_and_leaves_nothing(
    session: EngineSession, folder: Path
) -> None:
    before = set(folder.iterdir())
    job = session.submit(request(folder, "cancelled", steps=500))
    follow(session, job, lambda: bool(job.progress and job.progress.phase == "invert"))
    session.cancel(job)
    follow(session, job, lambda: job.state.finished)
    assert job.state is JobState.CANCELLED
    assert job.progress is not None and job.progress.done < job.progress.total
    assert set(folder.iterdir()) == before, "nothing half-written lies beside the output"


def test_an_unreadable_source_fails_with_the_engines_own_words(
    session: EngineSession, folder: Path
) -> None:
    before = set(folder.iterdir())
    lacking = replace(request(folder, "never", steps=1), source=str(folder / "nowhere"))
    job = session.submit(lacking)
    follow(session, job, lambda: job.state.finished)
    assert job.state is JobState.FAILED and job.error is not None
    assert job.error.code == "unreadable_source" and job.error.remedy
    assert set(folder.iterdir()) == before
