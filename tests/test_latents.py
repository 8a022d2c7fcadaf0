"""Latents on disk: as written, sealed, in flat memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tokenflow_engine.media.latents import LatentStore, open_sealed


def test_latents_come_back_as_written_once_sealed(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).normal(size=(10, 4, 8, 6)).astype(np.float16)
    store = LatentStore(tmp_path / "latents")
    store.create("t0801", drawn.shape, np.float16)
    store.create("field-3", (10, 48), np.int32)
    store.write("t0801", slice(4, 10), drawn[4:])
    store.write("t0801", [3, 1, 0], drawn[[3, 1, 0]])
    assert open_sealed(tmp_path / "latents") is None
    with pytest.raises(ValueError, match="1 rows were not written, first 2"):
        store.seal()
    store.write("t0801", 2, drawn[2])
    field = np.arange(480, dtype=np.int32).reshape(10, 48)
    store.write("field-3", slice(None), field)
    store.seal()
    opened = open_sealed(tmp_path / "latents", verify=True)
    assert opened is not None and opened.keys() == ["t0801", "field-3"]
    assert (opened.shape("t0801"), opened.dtype("t0801")) == ((10, 4, 8, 6), np.float16)
    assert np.array_equal(opened.read("t0801", slice(None)), drawn)
    assert np.array_equal(opened.read("t0801", [7, 0, 7]), drawn[[7, 0, 7]])
    assert np.array_equal(opened.read("t0801", 5), drawn[5])
    assert np.array_equal(np.load(tmp_path / "latents" / "field-3.npy"), field)


def sealed(folder: Path) -> Path:
    store = LatentStore(folder)
    store.create("t1", (4, 5), np.float32)
    store.write("t1", slice(None), np.ones((4, 5), np.float32))
    store.seal()
    return folder


def test_damaged_stores_do_not_open(tmp_path: Path) -> None:
    short = sealed(tmp_path / "short")
    data = (short / "t1.npy").read_bytes()
    (short / "t1.npy").write_bytes(data[:-4])
    gone = sealed(tmp_path / "gone")
    (gone / "t1.npy").unlink()
    scribbled = sealed(tmp_path / "scribbled")
    (scribbled / "manifest.json").write_text("{")
    strange = sealed(tmp_path / "strange")
    (strange / "manifest.json").write_text(json.dumps({"t1": {"shape": [4, 5]}}))
    for folder in (short, gone, scribbled, strange, tmp_path / "missing"):
        assert open_sealed(folder) is None, folder.name
    flipped = sealed(tmp_path / "flipped")
    (flipped / "t1.npy").write_bytes(data[:-1] + b"\x01")
    assert open_sealed(flipped) is not None
    assert open_sealed(flipped, verify=True) is None


def test_starting_a_store_deletes_arrays_but_no_other_files(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "store")
    (folder / "note.txt").write_text("mine")
    store = LatentStore(folder)
    assert [path.name for path in folder.iterdir()] == ["note.txt"] and store.keys() == []
    with pytest.raises(ValueError, match="name"):
        store.create("../escape", (1,), np.int8)
    store.create("a", (2, 3), np.int8)
    with pytest.raises(ValueError, match="shape"):
        store.write("a", slice(None), np.zeros((2, 4), np.int8))
    with pytest.raises(ValueError, match="name"):
        store.create("a", (2, 3), np.int8)


MEMORY = """
import sys, resource
from pathlib import Path
import numpy as np
from tokenflow_engine.media.latents import LatentStore, open_sealed
store = LatentStore(Path(sys.argv[1]))
store.create("t", (4000, 4, 64, 64), np.float16)
block = np.ones((8, 4, 64, 64), np.float16)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for first in range(0, 4000, 8):
    store.write("t", slice(first, first + 8), block)
store.seal()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak in Linux's unit")
def test_writing_four_thousand_frames_keeps_memory_flat(tmp_path: Path, checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "long")],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert int(done.stdout) < 20, "MiB, of 125 written"
