"""`tokenflow doctor` tells a sound installation from a broken one, with remedies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokenflow_engine.command_line import doctor


def consult(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tokenflow_engine", "doctor", *arguments],
        cwd=checkout,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_sound_installation_is_ready(checkout: Path, tmp_path: Path) -> None:
    done = consult(checkout, TOKENFLOW_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "Ready to edit."
    for check in doctor.CHECKS:
        assert f" {check}: " in done.stdout
    assert "FAIL" not in done.stdout


def test_broken_parts_fail_with_a_remedy_and_the_rest_is_still_checked(
    checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    done = consult(
        checkout,
        "--json",
        TOKENFLOW_CACHE=str(tmp_path / "file" / "cache"),
        IMAGEIO_FFMPEG_EXE=str(broken),
    )
    assert done.returncode == 1
    report = json.loads(done.stdout)
    by_check = {finding["check"]: finding for finding in report["findings"]}
    assert report["ok"] is False
    assert by_check["Cache"]["status"] == by_check["ffmpeg"]["status"] == "FAIL"
    assert by_check["Cache"]["remedy"] and by_check["ffmpeg"]["remedy"]
    assert by_check["Embedded model"]["status"] == "OK"


def test_packages_that_differ_from_the_lock_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "engine.lock"
    lock.write_text('numpy==0.1\nno-such-package==1\ncolorama==0.4.6; platform_system == "Windows"')
    findings = doctor.check_packages(lock)
    assert [f.status for f in findings] == ["WARN", "FAIL"]
    assert "numpy is" in findings[0].message and "instead of 0.1" in findings[0].message
    assert "no-such-package 1 is not installed" in findings[1].message
    assert all("run.py setup" in f.remedy for f in findings)


def test_engine_environment_is_as_locked() -> None:
    assert [f.status for f in doctor.check_packages()] == ["OK"]


def test_check_that_breaks_is_a_finding() -> None:
    def explode() -> list[doctor.Finding]:
        raise ZeroDivisionError("oh")

    (finding,) = doctor.examine("Thing", explode)
    assert (finding.check, finding.status) == ("Thing", "FAIL") and "oh" in finding.message


@pytest.mark.parametrize("status", ["OK", "WARN", "FAIL"])
def test_each_line_starts_with_its_status(status: str) -> None:
    line = doctor.spoken(doctor.Finding("ffmpeg", status, "version 9", "Do this."))
    assert line.startswith(f"{status:<5} ffmpeg: version 9\n      -> Do this.")
