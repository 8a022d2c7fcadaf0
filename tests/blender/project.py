"""Small projects to test on, and looks at their pixels. Runs inside Blender."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from subprocess import PIPE
from types import ModuleType

import addon_utils
import bpy
import numpy as np
from bpy.types import Scene, Strip

EXTENSION = "bl_ext.user_default.tokenflow_edit"
FOOTAGE = Path(os.environ["TOKENFLOW_TEST_FOOTAGE"])
"""Folder with 12 frames of noise: `movie.mkv` (lossless, 24 a second) and `images/00000.png` ..."""


def link_addon(checkout: Path) -> None:
    """Make the checkout an extension of this profile without copying it."""
    repository = Path(bpy.utils.user_resource("EXTENSIONS", path="user_default", create=True))
    link = repository / "tokenflow_edit"
    if not link.is_symlink():
        link.symlink_to(checkout, target_is_directory=True)


def enable_addon(checkout: Path) -> None:
    link_addon(checkout)
    if addon_utils.enable(EXTENSION, default_set=True) is None:
        raise RuntimeError("the add-on cannot be enabled")


def room(name: str) -> ModuleType:
    """A module of the enabled add-on, for example `sequencer.edit_queue`; some load when used."""
    return import_module(f"{EXTENSION}.{name}")


@contextlib.contextmanager
def served(program: str, folder: Path) -> Iterator[str]:
    """Address of a folder that a program of `tests/` serves: a thread within Blender crashes it."""
    script = Path(__file__).resolve().parents[1] / program
    command = [sys.executable, "-I", str(script), str(folder)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.stdin.close()


def scripted_engine() -> None:
    """Have the queue start tests/scripted_engine.py from now on."""
    tests = Path(__file__).resolve().parents[1]
    launcher = room("tokenflow_engine.client.launcher")

    class Scripted(launcher.EngineCommand):
        def arguments(self, runtime: Path, owner_pid: int) -> list[str]:
            standard = super().arguments(runtime, owner_pid)
            after_serve = standard[standard.index("serve") + 1 :]
            return [standard[0], str(tests / "scripted_engine.py"), *after_serve]

    command = Scripted(Path(os.environ["TOKENFLOW_ENGINE_PYTHON"]), tests.parent)
    room("sequencer.edit_queue").engine_command = lambda: command


def new_project(width: int = 160, height: int = 120) -> Scene:
    """Empty data; the add-on stays enabled, and its engine alive."""
    bpy.ops.wm.read_homefile(use_empty=True)
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.sequence_editor_create()
    return scene


def end_all_edits() -> None:
    """What a failed check left running must not hold up the next one."""
    queue = room("sequencer.queue_timer").edit_queue()
    for edit in queue.unfinished:
        queue.cancel(edit)
    deadline = time.monotonic() + 30
    while queue.unfinished and time.monotonic() < deadline:
        queue.poll()
        time.sleep(0.01)


def add_movie(channel: int = 1, start: int = 1, name: str = "movie") -> Strip:
    editor = bpy.context.scene.sequence_editor
    strip = editor.strips.new_movie(
        name, str(FOOTAGE / "movie.mkv"), channel, start, fit_method="ORIGINAL"
    )
    return choose(strip)


def add_images(channel: int = 1, start: int = 1, folder: Path = FOOTAGE / "images") -> Strip:
    editor = bpy.context.scene.sequence_editor
    files = sorted(folder.glob("*.png"))
    strip = editor.strips.new_image("images", str(files[0]), channel, start, fit_method="ORIGINAL")
    for file in files[1:]:
        strip.elements.append(file.name)
    return choose(strip)


def choose(strip: Strip) -> Strip:
    """Make this strip the only one selected, and active."""
    editor = bpy.context.scene.sequence_editor
    for other in editor.strips_all:
        other.select = False
    strip.select = True
    editor.active_strip = strip
    return strip


def read_strip(strip: Strip, folder: Path, *, here: bool = True, depth: int = 8) -> list[Path]:
    """Read the strip as an edit does; return the files of its frames."""
    scene = strip.id_data
    frames = room("sequencer.strip_alone").frames_of(scene, strip)
    folder.mkdir(exist_ok=True)
    read = room("sequencer.strip_frames").read
    reading = read(scene, strip, frames, folder, here=here, depth=depth)
    try:
        while not reading.finished:
            reading.advance()
            if not here:
                time.sleep(0.05)
    finally:
        reading.close()
    files = sorted(folder.glob("*.png"))
    assert [file.name for file in files] == [f"{n:05d}.png" for n in range(frames.count)]
    return files


def place_result(strip: Strip, frames, folder: Path, size: tuple[int, int] | None = None) -> Strip:
    """Put the pictures of a folder above the strip, as if the engine had made them."""
    request = room("tokenflow_engine.client.edit_request").EditRequest(
        source=str(folder), prompt="a blue ball", output=str(folder), seed=7, guidance_scale=5.5
    )
    width, height = size or frames.size
    result = room("tokenflow_engine.client.progress").EditResult(
        output=str(folder),
        frame_count=frames.count,
        width=width,
        height=height,
        fps=None,
        seconds={"edit": 1.0},
    )
    pictures = [folder / f"{n:05d}.png" for n in range(frames.count)]
    add = room("sequencer.result_strip").add_result_strip
    return add(strip.id_data, strip, frames, pictures, request, result)


def place_unchanged(strip: Strip, work: Path) -> Strip:
    """Take the strip's own frames for the engine's result: an edit that changes nothing."""
    frames = room("sequencer.strip_alone").frames_of(strip.id_data, strip)
    read_strip(strip, work / "result")
    return place_result(strip, frames, work / "result")


def pixels(file: Path) -> np.ndarray:
    """(height, width, 3) integers of an 8-bit picture, the lowest row first."""
    return rgba(file)[..., :3]


def rgba(file: Path, scale: int = 255) -> np.ndarray:
    """(height, width, 4) integers of a picture, 0 to `scale`, the lowest row first."""
    image = bpy.data.images.load(str(file))
    try:
        width, height = image.size
        values = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(values)
    finally:
        bpy.data.images.remove(image)
    return np.rint(values.reshape(height, width, 4) * scale).astype(int)


def source_pixels(frame: int) -> np.ndarray:
    """A frame of the footage, which movie and images share."""
    return pixels(FOOTAGE / "images" / f"{frame:05d}.png")


def shown(scene: Scene, frame: int, file: Path) -> np.ndarray:
    """What the Sequencer shows at a frame, with alpha, without the user's display transform."""
    scene.view_settings.view_transform = "Standard"
    render = scene.render
    render.dither_intensity = 0
    render.resolution_percentage = 100
    if hasattr(render.image_settings, "media_type"):
        render.image_settings.media_type = "IMAGE"
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGBA"
    render.filepath = str(file)
    scene.frame_set(frame)
    bpy.ops.render.render(write_still=True)
    return rgba(file)


def premultiplied(picture: np.ndarray) -> np.ndarray:
    """What can be seen of a picture with alpha: colour weighted by it, and alpha itself."""
    alpha = picture[..., 3:]
    return np.concatenate([np.rint(picture[..., :3] * alpha / 255).astype(int), alpha], axis=2)


def assert_result_shows_the_same(source: Strip, work: Path, frame: int) -> Strip:
    """An edit that changes nothing shows what its source shows, to the bit."""
    scene = bpy.context.scene
    name = source.name
    result = place_unchanged(source, work)
    result.mute = True
    expected = shown(scene, frame, work / "source.png")
    # Its inputs come to light with it.
    for other in scene.sequence_editor.strips_all:
        other.mute = other != result
    got = shown(scene, frame, work / "shown.png")
    assert expected[..., :3].any()
    worst = np.abs(premultiplied(expected) - premultiplied(got)).max()
    assert worst == 0, f"{name} differs by {worst}"
    return result
