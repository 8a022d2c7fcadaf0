"""A strip's pictures as the Sequencer shows them, as a folder of numbered PNG files."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import bpy
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.progress import Progress
from . import frame_renderer
from .strip_alone import StripFrames, displayed_meta, scene_of_strip_alone

_LOG_TAIL = 4000


class ReadingHere:
    """Renders the strip in this Blender, one still for each `advance`."""

    def __init__(
        self, scene: Scene, strip: Strip, frames: StripFrames, folder: Path, depth: int
    ) -> None:
        self._frames = frames
        self._done = 0
        self._temporary = contextlib.ExitStack()
        alone = self._temporary.enter_context(scene_of_strip_alone(scene, strip, frames, depth))
        self._stills = frame_renderer.render_stills(alone, frames.numbers, folder)

    @property
    def finished(self) -> bool:
        return self._done == self._frames.count

    def advance(self) -> Progress:
        """Render the next still.

        Raises:
            TokenFlowError: code "unreadable_source" or "no_space".
        """
        try:
            self._done = next(self._stills)
        except (RuntimeError, OSError, ValueError) as error:
            raise _unreadable(str(error)) from error
        except ReferenceError as error:
            raise TokenFlowError(
                "unreadable_source",
                "The project was closed while the strip was being read.",
                "Open it again and retry.",
                str(error),
            ) from error
        if self.finished:
            self.close()
        return Progress("prepare", self._done, self._frames.count)

    def close(self) -> None:
        """Stop, if need be half-way; the temporary scene goes."""
        self._stills.close()
        self._temporary.close()


class ReadingElsewhere:
    """Renders the strip in a second Blender without a window; `advance` only looks at it."""

    def __init__(
        self, scene: Scene, strip: Strip, frames: StripFrames, folder: Path, depth: int
    ) -> None:
        self._frames = frames
        self._folder = folder
        self._done = 0
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        job = folder.with_suffix(".blend")
        with scene_of_strip_alone(scene, strip, frames, depth) as alone:
            shown = (alone.name, displayed_meta(alone))
            bpy.data.libraries.write(str(job), {alone}, path_remap="ABSOLUTE", fake_user=True)
        self._arguments = [job, *shown, frames.first, frames.end, frames.step, folder]

    def _launch(self) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [
                    bpy.app.binary_path,
                    "--background",
                    "--factory-startup",
                    "--python",
                    str(Path(frame_renderer.__file__).resolve()),
                    "--",
                    *map(str, self._arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )

    @property
    def finished(self) -> bool:
        return self._process is not None and self._process.poll() == 0

    def advance(self) -> Progress:
        """See how far the other Blender is; the first call starts it.

        Raises:
            TokenFlowError: code "unreadable_source" or "no_space", if it failed.
        """
        if self._process is None:
            # Not when the edit is queued: twenty strips must not start twenty Blenders.
            self._process = self._launch()
        code = self._process.poll()
        # A look at one or two files a tick, however long the strip is.
        while self._done < self._frames.count and self._still(self._done).exists():
            self._done += 1
        if code not in (None, 0) or (code == 0 and self._done < self._frames.count):
            raise _unreadable(f"Blender ended with exit code {code}.\n{self._log_tail()}")
        return Progress("prepare", self._done, self._frames.count)

    def close(self) -> None:
        """Stop, if need be half-way."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _still(self, index: int) -> Path:
        return frame_renderer.still_path(self._folder, index)

    def _log_tail(self) -> str:
        return self._log.read_text("utf-8", "replace")[-_LOG_TAIL:]


class FramesAtHand:
    """Frames that were rendered before, or never: `finished` says which."""

    def __init__(self, count: int, finished: bool) -> None:
        self._count = count
        self.finished = finished

    def advance(self) -> Progress:
        return Progress("prepare", self._count, self._count)

    def close(self) -> None:
        """Nothing to stop."""


Reading = ReadingHere | ReadingElsewhere | FramesAtHand


def read(
    scene: Scene, strip: Strip, frames: StripFrames, folder: Path, *, here: bool, depth: int = 8
) -> Reading:
    """Start to render the strip into `folder`, which must exist and be empty.

    Files with the folder's name and a suffix are written beside it.

    here: in this process; otherwise in a second Blender, so that this one's window stays alive.
    depth: bits of each colour, 8 or 16.
    """
    # As a Python module, Blender has no program to start.
    if here or not bpy.app.binary_path:
        return ReadingHere(scene, strip, frames, folder, depth)
    return ReadingElsewhere(scene, strip, frames, folder, depth)


def _unreadable(details: str) -> TokenFlowError:
    if "No space left" in details:
        return TokenFlowError(
            "no_space",
            "The disk is full; the strip's frames could not be written.",
            "Free some space and start again.",
            details,
        )
    return TokenFlowError(
        "unreadable_source",
        "The strip's frames could not be rendered.",
        "Check that the strip plays in the preview, then start again.",
        details,
    )
