"""The add-on in a real Blender program: in a window, by simulated clicks, and on the command line.

Screenshots go to `out/window/`.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.package_index import PackageIndex, serving, write_wheel
from tokenflow_engine.media.pictures import write_movie, write_numbered
from tokenflow_engine.toyworld import sample_clip

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ROOT / "tests" / "blender"
SCREENSHOTS = ROOT / "out" / "window"
SECONDS = 3000
"""Against a window that hangs; a busy machine takes many times as long as a quiet one."""
EXTENSION = "bl_ext.user_default.tokenflow_edit"
DO = ("--python-exit-code", "9", "--python-expr")
ENABLE = f"""
import addon_utils, bpy, sys
from pathlib import Path
sys.path.insert(0, {str(INSIDE)!r})
from project import link_addon
link_addon(Path({str(ROOT)!r}))
assert addon_utils.enable({EXTENSION!r}, default_set=True)
bpy.ops.wm.save_userpref()
"""
ADD_CLIP = """
import bpy
editor = bpy.context.scene.sequence_editor_create()
strip = editor.strips.new_movie("cone", {clip!r}, 1, 1)
settings = bpy.context.scene.tokenflow
settings.steps = settings.inversion_steps = 2
"""


INTERRUPTED = f"""
import bpy, sys
queue = sys.modules[{EXTENSION + ".sequencer.queue_timer"!r}].edit_queue()
queue.recover()
print("LEFT", [(edit.stage.name, edit.strip_name, edit.request.seed) for edit in queue.edits])
"""


def save(project: Path) -> str:
    return f"import bpy; bpy.ops.wm.save_as_mainfile(filepath={str(project)!r})"


def run_blender(command: Sequence[object], environment: dict[str, str]) -> tuple[int, str]:
    """Exit code, and the last of what it printed, errors first."""
    ended = subprocess.run(
        list(map(str, command)),
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
    )
    return ended.returncode, f"{ended.stderr[-4000:]}\n{ended.stdout[-6000:]}"


def wait_until_gone(folder: Path) -> None:
    """Wait until no process names the folder on its command line."""
    deadline = time.monotonic() + 120
    while left := [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or [])
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.fixture
def environment(clip: Path, engine_python: str, tmp_path: Path) -> dict[str, str]:
    """For a Blender with a profile of its own."""
    (tmp_path / "tmp").mkdir()
    return {
        **os.environ,
        "TOKENFLOW_ENGINE_PYTHON": engine_python,
        "BLENDER_USER_RESOURCES": str(tmp_path / "profile"),
        "TMPDIR": str(tmp_path / "tmp"),
        "TOKENFLOW_CACHE": str(tmp_path / "cache"),
        "TOKENFLOW_SCREENSHOTS": str(SCREENSHOTS),
        "TOKENFLOW_TEST_CLIP": str(clip),
        "TOKENFLOW_TEST_FOOTAGE": str(clip.parent),
    }


@pytest.fixture(scope="module")
def display() -> list[str]:
    """The start of a command line that gives the rest a screen."""
    if os.environ.get("DISPLAY") and not shutil.which("xvfb-run"):
        return []
    if not shutil.which("xvfb-run"):
        pytest.skip("no screen: neither xvfb-run nor DISPLAY is there")
    return ["xvfb-run", "-a", "-s", "-screen 0 1600x1400x24 +extension GLX"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames around a red cone on grass."""
    movie = tmp_path_factory.mktemp("clip") / "cone.mp4"
    chosen = {"shape": "cone", "look": "red", "ground": "grass", "sky": "blue"}
    write_movie(movie, list(sample_clip(11, "orbit", 8, 192, 192, **chosen).frames), 24)
    return movie


def test_the_click_in_the_window_yields_the_strip(
    gui_blender: Path, display: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    if not shutil.which("import"):
        pytest.skip("no screenshots: ImageMagick's program `import` is not there")
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    project = tmp_path / "shot.blend"
    run = partial(run_blender, environment=environment)
    code, said = run([gui_blender, "-b", *DO, ENABLE])
    assert code == 0, said
    code, said = run([gui_blender, "-b", "--app-template", "Video_Editing", *DO, save(project)])
    assert code == 0, said
    code, said = run(
        [
            *display,
            *(gui_blender, "--enable-event-simulate", "-p", "0", "0", "1600", "1400"),
            *("--python-exit-code", "3", project, "--python", INSIDE / "window_edit.py"),
        ]
    )
    print(said)
    assert code == 0, said
    assert "SCENARIO PASSED" in said
    wait_until_gone(tmp_path)
    assert {picture.name for picture in SCREENSHOTS.glob("*.png")} >= {
        "1_panel.png",
        "2_running.png",
        "3_result.png",
        "4_cancelled.png",
        "5_strip_gone.png",
    }


def test_presets_are_found_applied_undone_saved_and_deleted_in_the_window(
    gui_blender: Path, display: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    if not shutil.which("import"):
        pytest.skip("no screenshots: ImageMagick's program `import` is not there")
    project = tmp_path / "shot.blend"
    run = partial(run_blender, environment=environment)
    code, said = run([gui_blender, "-b", *DO, ENABLE])
    assert code == 0, said
    code, said = run([gui_blender, "-b", "--app-template", "Video_Editing", *DO, save(project)])
    assert code == 0, said
    code, said = run(
        [
            *display,
            *(gui_blender, "--enable-event-simulate", "-p", "0", "0", "1600", "1400"),
            *("--python-exit-code", "3", project, "--python", INSIDE / "window_presets.py"),
        ]
    )
    print(said)
    assert code == 0, said
    assert "SCENARIO PASSED" in said
    assert len(list(SCREENSHOTS.glob("presets_*.png"))) >= 5


def test_the_queue_is_ordered_cancelled_retried_and_mended_by_clicks_in_the_window(
    gui_blender: Path, display: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    if not shutil.which("import"):
        pytest.skip("no screenshots: ImageMagick's program `import` is not there")
    project = tmp_path / "shot.blend"
    run = partial(run_blender, environment=environment)
    code, said = run([gui_blender, "-b", *DO, ENABLE])
    assert code == 0, said
    code, said = run([gui_blender, "-b", "--app-template", "Video_Editing", *DO, save(project)])
    assert code == 0, said
    code, said = run(
        [
            *display,
            *(gui_blender, "--enable-event-simulate", "-p", "0", "0", "1600", "1400"),
            *("--python-exit-code", "3", project, "--python", INSIDE / "window_queue.py"),
        ]
    )
    print(said)
    assert code == 0, said
    assert "SCENARIO PASSED" in said
    wait_until_gone(tmp_path)
    assert len(list(SCREENSHOTS.glob("queue_*.png"))) >= 6
    code, said = run([gui_blender, "-b", project, "--addons", EXTENSION, *DO, INTERRUPTED])
    assert code == 0, said
    assert "LEFT [('INTERRUPTED', 'red cone', 7)]" in said, said


def test_a_retimed_cropped_strip_with_alpha_and_a_text_are_edited_by_one_click(
    gui_blender: Path, display: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    if not shutil.which("import"):
        pytest.skip("no screenshots: ImageMagick's program `import` is not there")
    folder = tmp_path / "footage" / "transparent"
    folder.mkdir(parents=True)
    across, down = np.meshgrid(np.linspace(-1, 1, 192), np.linspace(-1, 1, 192))
    soft = np.clip((1 - np.hypot(across, down)) * 4, 0, 1)
    alpha = np.rint(soft * 255).astype(np.uint8)
    chosen = {"shape": "ball", "look": "red", "ground": "grass", "sky": "blue"}
    frames = sample_clip(11, "orbit", 8, 192, 192, **chosen).frames
    write_numbered(folder, (np.dstack([frame, alpha]) for frame in frames))
    environment["TOKENFLOW_TEST_FOOTAGE"] = str(folder.parent)
    project = tmp_path / "shot.blend"
    run = partial(run_blender, environment=environment)
    code, said = run([gui_blender, "-b", *DO, ENABLE])
    assert code == 0, said
    code, said = run([gui_blender, "-b", "--app-template", "Video_Editing", *DO, save(project)])
    assert code == 0, said
    code, said = run(
        [
            *display,
            *(gui_blender, "--enable-event-simulate", "-p", "0", "0", "1600", "1400"),
            *("--python-exit-code", "3", project, "--python", INSIDE / "window_strips.py"),
        ]
    )
    print(said)
    assert code == 0, said
    assert "SCENARIO PASSED" in said
    wait_until_gone(tmp_path)
    assert len(list(SCREENSHOTS.glob("strips_*.png"))) == 2


def test_the_command_of_a_real_blender_edits_a_copy(
    gui_blender: Path, environment: dict[str, str], clip: Path, tmp_path: Path
) -> None:
    project = tmp_path / "shot.blend"
    run = partial(run_blender, environment=environment)
    code, said = run([gui_blender, "-b", *DO, ENABLE])
    assert code == 0, said
    make = ADD_CLIP.format(clip=str(clip)) + save(project)
    code, said = run([gui_blender, "-b", "--addons", EXTENSION, *DO, make])
    assert code == 0, said
    before = project.read_bytes()
    command = [gui_blender, "-b", project, "--addons", EXTENSION, "--command", "tokenflow", "edit"]

    code, said = run([*command, "--strip", "cone", "--prompt", "a blue cone", "--json"])
    assert code == 0, said
    report = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert report["blend"] == str(tmp_path / "shot_tokenflow.blend")
    assert Path(report["blend"]).is_file()
    assert report["frame_count"] == len(list(Path(report["output"]).glob("*.png"))) == 8
    assert re.search(r"tokenflow: \w+ \d+/\d+", said)

    code, said = run([*command, "--strip", "cube", "--prompt", "a blue cone"])
    assert code == 2
    assert 'There is no strip named "cube". Choose one of: cone.' in said
    assert project.read_bytes() == before
    wait_until_gone(tmp_path)


def test_the_engine_is_installed_cancelled_gone_on_with_and_examined_in_the_window(
    gui_blender: Path, display: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    if not shutil.which("import"):
        pytest.skip("no screenshots: ImageMagick's program `import` is not there")
    programs, wheels = tmp_path / "requirements", tmp_path / "wheels"
    programs.mkdir()
    wheels.mkdir()
    for name in ("environments.py", "wheels.py", "install_engine.py"):
        shutil.copy(ROOT / "requirements" / name, programs)
    (programs / "engine.lock").write_text("grass==1.0\n")
    (programs / "engine-cuda.lock").write_text("")
    write_wheel(wheels, "grass", "1.0", random.Random(0).randbytes(3_000_000))
    project = tmp_path / "shot.blend"
    run = partial(run_blender, environment=environment)
    code, said = run([gui_blender, "-b", *DO, ENABLE])
    assert code == 0, said
    code, said = run([gui_blender, "-b", "--app-template", "Video_Editing", *DO, save(project)])
    assert code == 0, said
    with serving(PackageIndex(wheels, bytes_per_second=200_000)) as index:
        environment |= {
            "TOKENFLOW_TEST_PROGRAMS": str(programs),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index.address,
            "PIP_FIND_LINKS": "",
            "PIP_NO_CACHE_DIR": "1",
        }
        code, said = run_blender(
            [
                *display,
                *(gui_blender, "--enable-event-simulate", "-p", "0", "0", "1600", "1400"),
                *("--python-exit-code", "3", project, "--python", INSIDE / "window_engine.py"),
            ],
            environment,
        )
    print(said)
    assert code == 0, said
    assert "SCENARIO PASSED" in said
    assert len(list(SCREENSHOTS.glob("engine_*.png"))) >= 7
