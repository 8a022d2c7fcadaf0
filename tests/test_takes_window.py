"""Takes, their comparison and a preview in a real window. Screenshots go to `out/window/`."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
from test_blender_window import (  # noqa: F401
    DO,
    ENABLE,
    INSIDE,
    SCREENSHOTS,
    clip,
    display,
    environment,
    run_blender,
    save,
    wait_until_gone,
)

from tokenflow_engine.media.pictures import write_numbered
from tokenflow_engine.toyworld import sample_clip


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """Two takes of the clip as an ideal edit would make them: a blue cone and a golden one."""
    for look in ("blue", "gold"):
        chosen = {"shape": "cone", "look": look, "ground": "grass", "sky": "blue"}
        drawn = sample_clip(11, "orbit", 8, 192, 192, **chosen)
        write_numbered(tmp_path / "takes" / look, drawn.frames)
    return tmp_path / "takes"


def test_takes_are_switched_and_compared_and_a_preview_approved_in_the_window(
    gui_blender: Path,
    display: list[str],  # noqa: F811
    environment: dict[str, str],  # noqa: F811
    takes: Path,
    tmp_path: Path,
) -> None:
    if not shutil.which("import"):
        pytest.skip("no screenshots: ImageMagick's program `import` is not there")
    project = tmp_path / "shot.blend"
    run = partial(run_blender, environment={**environment, "TOKENFLOW_TEST_TAKES": str(takes)})
    code, said = run([gui_blender, "-b", *DO, ENABLE])
    assert code == 0, said
    code, said = run([gui_blender, "-b", "--app-template", "Video_Editing", *DO, save(project)])
    assert code == 0, said
    code, said = run(
        [
            *display,
            *(gui_blender, "--enable-event-simulate", "-p", "0", "0", "1600", "1400"),
            *("--python-exit-code", "3", project, "--python", INSIDE / "window_takes.py"),
        ]
    )
    print(said)
    assert code == 0, said
    assert "SCENARIO PASSED" in said
    wait_until_gone(tmp_path)
    shown = {picture.stem for picture in SCREENSHOTS.glob("*.png")}
    assert shown >= {"takes_1_switched", "takes_2_compared"}
    # A third one shows the sheet in German, where Blender was built with its translations.
    assert shown >= {"preview_1_sheet", "preview_3_approved"}
