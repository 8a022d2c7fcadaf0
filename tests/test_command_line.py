"""`tokenflow edit` as a script uses it: what it prints, how it ends, what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_runs import GOLDEN
from PIL import Image

from tokenflow_engine.command_line import main

Arguments = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def arguments(tmp_path: Path) -> Arguments:
    """Arguments of a short edit; None leaves an option out."""
    rng = np.random.default_rng(0)
    (tmp_path / "clip").mkdir()
    for number in range(4):
        noise = rng.integers(0, 255, (70, 101, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "clip" / f"{number:03d}.png")

    def build(source: str | Path = "clip", **options: Any) -> list[str]:
        every = {
            "prompt": "a red ball",
            "output": tmp_path / "out",
            "steps": 2,
            "inversion_steps": 2,
        } | options
        return ["edit", str(tmp_path / source)] + [
            text
            for name, value in every.items()
            if value is not None
            for text in (f"--{name.replace('_', '-')}", str(value))
        ]

    return build


def test_json_is_one_object_on_the_last_line(arguments: Arguments, capsys: Any) -> None:
    assert main([*arguments(size="64x64"), "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    result = json.loads(printed[-1])
    assert result["frame_count"] == 4
    assert set(result["seconds"]) == {"prepare", "invert", "correspond", "edit", "decode"}
    assert result["reconstruction_psnr"] > 0
    assert result["peak_memory_mb"]["host"] > 0
    assert Path(result["edit_file"]).is_file()


def test_odd_sizes_are_fitted_with_their_framing_kept(arguments: Arguments, capsys: Any) -> None:
    assert main([*arguments(), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["width"], result["height"]) == (101, 70)


def test_a_too_long_prompt_is_edited_with_a_warning_that_names_the_lost_words(
    arguments: Arguments, capsys: Any
) -> None:
    prompt = "a red ball on grass under a blue sky " * 5 + "at sunset"
    assert main(arguments(prompt=prompt, size="64x64")) == 0
    error = capsys.readouterr().err
    assert "Warning: The prompt is too long" in error
    assert 'sunset".' in error


def _corrupt(folder: Path) -> Path:
    (folder / "broken.mp4").write_bytes(b"\0" * 5000)
    return folder / "broken.mp4"


def _pickled(folder: Path) -> Path:
    shutil.copytree(GOLDEN / "pipeline", folder / "pickled")
    for weights in (folder / "pickled").glob("*/*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    return folder / "pickled"


def _occupied(folder: Path) -> Path:
    (folder / "mine").mkdir()
    (folder / "mine" / "holiday.jpg").write_bytes(b"precious")
    return folder / "mine"


BAD: dict[str, tuple[Callable[[Path], dict[str, Any]], int, str]] = {
    "unknown words": (
        lambda _: {"prompt": "a Dragon on grass"},
        2,
        'does not know the word "dragon". It knows these words: red, green',
    ),
    "empty prompt": (lambda _: {"prompt": "  "}, 2, "prompt is empty"),
    "missing prompt": (lambda _: {"prompt": None}, 2, "--prompt"),
    "missing source": (lambda _: {"source": "nowhere.mp4"}, 3, "nowhere.mp4"),
    "unreadable source": (lambda p: {"source": _corrupt(p)}, 3, "broken.mp4"),
    "source without pictures": (lambda p: {"source": p / "cache"}, 3, "cache"),
    "one frame": (lambda _: {"frames": "1:2"}, 2, "only one frame"),
    "range beyond the end": (lambda _: {"frames": "2:9"}, 2, "4 frames"),
    "empty range": (lambda _: {"frames": "3:3"}, 2, "empty"),
    "range in words": (lambda _: {"frames": "first"}, 2, "A:B"),
    "size off the grid": (lambda _: {"size": "101x70"}, 2, "Use 104x72"),
    "unknown model": (lambda _: {"model": "sd-9000"}, 4, "no model"),
    "pickled model": (lambda p: {"model": _pickled(p)}, 4, "pickle"),
    "unknown editor": (lambda _: {"editor": "magic"}, 2, "magic"),
    "too many steps": (lambda _: {"steps": 100000}, 2, "Steps is 100000"),
    "missing schedule": (lambda p: {"keyframe_schedule": p / "no.json"}, 2, "no.json"),
    "someone's folder": (lambda p: {"output": _occupied(p)}, 2, "holiday.jpg"),
    "output is a file": (lambda p: {"output": _corrupt(p)}, 2, "file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_sentence_and_leaves_everything_as_it_was(
    name: str, arguments: Arguments, tmp_path: Path, capsys: Any
) -> None:
    make, code, words = BAD[name]
    (tmp_path / "cache").mkdir()
    options = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main([*arguments(**options), "--json"]) == code
    printed = capsys.readouterr()
    error = json.loads(printed.out.splitlines()[-1])["error"]
    said = f"{error['message']} {error['remedy']}"
    assert words in said
    assert error["remedy"]
    assert printed.err.splitlines()[-1] == said
    assert "Traceback" not in printed.err
    after = [p for p in sorted(tmp_path.rglob("*")) if "cache" not in p.parts]
    assert after == [p for p in before if "cache" not in p.parts]


def test_a_full_disk_is_refused_before_the_work_begins(
    arguments: Arguments, capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert main([*arguments(size="64x64"), "--json"]) == 5
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert "free" in error["message"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["dance"]])
def test_without_a_command_the_usage_is_shown(arguments: list[str], capsys: Any) -> None:
    assert main(arguments) == 2
    assert "usage: tokenflow" in capsys.readouterr().err


def test_an_interrupted_process_ends_with_its_own_code_and_leaves_no_output(
    arguments: Arguments, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tokenflow_engine", *arguments(steps=500, size="64x64")]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        cwd=Path(__file__).parents[1],
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("correspond"):
            process.send_signal(2)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=120) == 9, rest
    assert "cancelled" in rest
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
