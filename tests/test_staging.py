"""Results appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_movies import error_of, ramp

from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.client.spoken import spoken_bytes
from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.media.staging import require_free_space, staged_folder


def result(folder: Path, frames: int, note: str = "{}") -> None:
    write_numbered(folder, ramp(frames))
    (folder / "edit.json").write_text(note)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_result_appears_whole_and_replaces_an_older_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out [1]"
    with staged_folder(target) as staging:
        result(staging, 3, "first")
        assert not target.exists() and staging.parent == target.parent
    assert names(target) == ["00000.png", "00001.png", "00002.png", "edit.json"]
    (target / "Thumbs.db").touch()
    with staged_folder(target) as staging:
        result(staging, 1, "second")
        assert (target / "edit.json").read_text() == "first"
    assert names(target) == ["00000.png", "edit.json"]
    assert names(target.parent) == ["out [1]"]


def test_failure_leaves_the_older_result_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), staged_folder(target):
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    with staged_folder(target) as staging:
        result(staging, 2, "kept")
    with pytest.raises(RuntimeError), staged_folder(target) as staging:
        result(staging, 1)
        raise RuntimeError
    assert (target / "edit.json").read_text() == "kept" and names(tmp_path) == ["out"]


def test_folder_that_another_process_takes_away_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "shot_tokenflow" / "strip_1"
    taken_away = iter([True, True])
    make = Path.mkdir

    def mkdir(path: Path, *arguments: Any, **named: Any) -> None:
        if path.parent == target.parent and next(taken_away, False):
            target.parent.rmdir()
        make(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with staged_folder(target) as staging:
        result(staging, 1)
    assert names(target) == ["00000.png", "edit.json"]


def test_folder_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    target = tmp_path / "footage"
    target.mkdir()
    (target / "precious.mov").write_text("x")
    with pytest.raises(TokenFlowError, match=r"precious\.mov"), staged_folder(target):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["footage"] and names(target) == ["precious.mov"]
    target = tmp_path / "footage" / "precious.mov"
    with pytest.raises(TokenFlowError, match="is a file"), staged_folder(target):
        pytest.fail("the block must not run")


def test_file_that_appears_during_the_edit_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(TokenFlowError, match="notes"), staged_folder(target) as staging:
        result(staging, 1)
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    assert names(target) == ["notes.txt"] and names(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tokenflow_engine.media.staging import staged_folder
with staged_folder(Path(sys.argv[1])) as staging:
    (staging / "00000.png").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_killed_process_left_is_cleared_by_the_next_edit(
    tmp_path: Path, checkout: Path
) -> None:
    target = tmp_path / "out"
    subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=checkout, timeout=60)
    assert not target.exists() and len(names(tmp_path)) == 1
    with staged_folder(target) as staging:
        result(staging, 1)
    assert names(tmp_path) == ["out"]


def test_swap_interrupted_between_its_two_renames_is_undone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged_folder(target) as staging:
        result(staging, 2, "older")
    target.rename(tmp_path / ".out.previous")
    with pytest.raises(RuntimeError), staged_folder(target):
        raise RuntimeError
    assert (target / "edit.json").read_text() == "older" and names(tmp_path) == ["out"]


def test_full_disk_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(TokenFlowError) as caught, staged_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.code == "no_space" and "are free" in caught.value.message
    assert names(tmp_path) == []
    error = error_of(lambda: require_free_space(tmp_path / "not" / "yet", 2**60))
    assert error.code == "no_space"
    assert "needs about 1152922 TB" in error.message
    require_free_space(tmp_path, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_really_full_device_maps_to_no_space(tmp_path: Path) -> None:
    with pytest.raises(TokenFlowError) as caught, staged_folder(tmp_path / "out") as staging:
        (staging / "00000.png").symlink_to("/dev/full")
        with (staging / "00000.png").open("wb") as file:
            file.write(b"x" * 10000)
    assert caught.value.code == "no_space"


def test_sizes_are_spoken_with_two_figures() -> None:
    spoken = [spoken_bytes(n) for n in (12, 2100, 640_000_000, 1_200_000_000, 3_000_000_000)]
    assert spoken == ["12 bytes", "2.1 KB", "640 MB", "1.2 GB", "3 GB"]
    assert [spoken_bytes(n) for n in (999_999, 9_990_000_000)] == ["1 MB", "10 GB"]
