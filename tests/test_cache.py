"""The cache that several engines share, as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tokenflow_engine.media.latents import LatentStore
from tokenflow_engine.phases.cache import PhaseCache

ROWS, BYTES = 100, 50

ENGINE = f"""
import sys
from pathlib import Path
import numpy as np
from tokenflow_engine.phases.cache import PhaseCache

def make(store):
    store.create("a", ({ROWS}, {BYTES}), "uint8")
    for row in range({ROWS}):
        store.write("a", [row], np.full((1, {BYTES}), row, np.uint8))

cache = PhaseCache(Path(sys.argv[1]))
store = cache.obtain("invert", "strip", make)
print("ready", flush=True)
sys.stdin.readline()
print(store.read("a", slice(None)).sum(), flush=True)
cache.release()
"""
SUM = BYTES * sum(range(ROWS))


def engine(root: Path) -> subprocess.Popen[str]:
    """A process that finds or makes the entry, says "ready", and reads it when told to."""
    return subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def evict_all(root: Path) -> None:
    PhaseCache(root, limit=0).evict()


def test_two_engines_make_one_entry_at_once_and_both_read_it(tmp_path: Path) -> None:
    engines = [engine(tmp_path), engine(tmp_path)]
    assert [line_of(process) for process in engines] == ["ready", "ready"]
    said = [process.communicate("go\n", timeout=300)[0].strip() for process in engines]
    assert said == [str(SUM), str(SUM)]
    assert [path.name for path in (tmp_path / "invert").iterdir()] == ["strip"]


def test_an_entry_in_use_by_another_engine_is_not_evicted(tmp_path: Path) -> None:
    reader = engine(tmp_path)
    assert line_of(reader) == "ready"
    evict_all(tmp_path)
    assert reader.communicate("go\n", timeout=300)[0].strip() == str(SUM)
    assert (tmp_path / "invert" / "strip").is_dir()
    evict_all(tmp_path)
    assert not list((tmp_path / "invert").iterdir())


def test_what_a_killed_engine_held_or_left_half_made_is_removed(tmp_path: Path) -> None:
    killed = engine(tmp_path)
    assert line_of(killed) == "ready"
    killed.kill()
    killed.communicate(timeout=300)
    claim = next((tmp_path / "invert").glob("*.claim"))
    half_made = claim.with_name(claim.name.replace("strip", "other")).with_suffix(".part")
    half_made.mkdir()
    own = f".{os.getpid()}."
    assert own not in claim.name
    evict_all(tmp_path)
    assert not list((tmp_path / "invert").iterdir())


def test_a_byte_that_flipped_on_disk_is_noticed_and_the_entry_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    def make(store: LatentStore) -> None:
        made.append(1)
        store.create("a", (3, 4), "float32")
        store.write("a", slice(None), np.ones((3, 4)))

    PhaseCache(tmp_path).obtain("edit", "prompt", make)
    PhaseCache(tmp_path).obtain("edit", "prompt", make)
    assert len(made) == 1
    array = tmp_path / "edit" / "prompt" / "a.npy"
    content = bytearray(array.read_bytes())
    content[-5] ^= 1
    array.write_bytes(content)
    again = PhaseCache(tmp_path).obtain("edit", "prompt", make)
    assert len(made) == 2
    assert (again.read("a", slice(None)) == 1).all()
