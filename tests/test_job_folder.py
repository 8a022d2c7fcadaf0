"""A finished step is known by the hash of its inputs; paths of another machine are mapped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.client.job_folder import JobFolder, content_hash, hash_of
from tokenflow_engine.client.path_mapping import read_path_mapping
from tokenflow_engine.client.step_command import numbers


def test_a_step_is_finished_for_its_own_inputs_only(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "job")
    assert job.finished("render-a", "1") is None
    job.finish("render-a", "1", {"frame_count": 3})
    assert job.finished("render-a", "1") == {"frame_count": 3}
    assert job.finished("render-a", "2") is None
    (tmp_path / "job" / "done" / "render-a.json").write_text('{"inputs": "1"')
    assert job.finished("render-a", "1") is None


def test_hashes_tell_contents_apart_and_not_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"xy")
    (tmp_path / "b").write_bytes(b"xy")
    (tmp_path / "c").write_bytes(b"x")
    (tmp_path / "d").write_bytes(b"y")
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert content_hash(a) == content_hash(b) != content_hash(c, d)
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1}) != hash_of({"a": 2, "b": 1})


def test_a_step_that_another_process_holds_is_refused_until_that_has_ended(
    tmp_path: Path, checkout: Path
) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tokenflow_engine.client.job_folder import JobFolder\n"
        "with JobFolder(Path(sys.argv[1])).only_process('assemble'):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    job = JobFolder(tmp_path)
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(TokenFlowError, match="Another process"), job.only_process("assemble"):
        pass
    # Killed, so that it cannot tidy up.
    other.kill()
    other.wait(30)
    other.stdin.close()
    other.stdout.close()
    with job.only_process("assemble"):
        pass


def test_paths_are_mapped_by_the_most_specific_rule_of_their_format(tmp_path: Path) -> None:
    rules = [
        ("POSIX", "/mnt/projects", "/shared"),
        ("POSIX", "/mnt/projects/models", "/models"),
        ("WINDOWS", "P:\\projects", "/shared"),
    ]
    names = ("source_path_format", "source_path", "destination_path")
    file = tmp_path / "rules.json"
    listed = [dict(zip(names, rule, strict=True)) for rule in rules]
    file.write_text(json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": listed}))
    mapping = read_path_mapping(file)
    assert mapping("/mnt/projects/a/b.mp4") == "/shared/a/b.mp4"
    assert mapping("/mnt/projects/models/sd") == "/models/sd"
    assert mapping("p:\\Projects\\a.mp4") == "/shared/a.mp4"
    for left in ("/mnt/projects2/a", "//a.mp4", "relative/a", "embedded", ""):
        assert mapping(left) == left
    file.write_text("{}")
    assert read_path_mapping(file)("/mnt/projects/a") == "/mnt/projects/a"
    file.write_text('{"path_mapping_rules": [{}]}')
    with pytest.raises(TokenFlowError):
        read_path_mapping(file)


def test_ranges_are_read_as_open_job_description_writes_them() -> None:
    assert numbers("3") == [3]
    assert numbers("0-3,7,2") == [0, 1, 2, 3, 7]
    for wrong in ("", "a", "3-1", "1-", "-1", "0-99999999999"):
        with pytest.raises(Exception, match=r"range|form"):
            numbers(wrong)
