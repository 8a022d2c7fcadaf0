"""From a strip and settings to an edit that waits in line."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Container
from pathlib import Path

import bpy
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.progress import Progress
from .frames_folder import new_frames_folder
from .settings import with_paths
from .strip_alone import frames_of
from .strip_edit import StripEdit
from .strip_frames import read
from .strip_identity import unique_strip_uid


def begin_edit(
    scene: Scene,
    strip: Strip,
    template: EditRequest,
    *,
    kind: str,
    here: bool,
    output: Path | None,
    taken: Container[Path],
) -> StripEdit:
    """Measure a strip and make ready to read it; nothing has changed if this raises.

    template: the request without source and output.
    here: render the strip's frames in this process, for a caller that waits anyway.
    output: folder for the edited frames; a new one in the place the user chose if None.
    taken: folders that other edits will make.

    Raises:
        TokenFlowError: for a strip or a value that will not do.
    """
    if bpy.app.is_job_running("RENDER"):
        raise TokenFlowError(
            "bad_request", "Blender is rendering.", "Start the edit when it has finished."
        )
    frames = frames_of(scene, strip)
    if frames.count < 2:
        raise TokenFlowError(
            "bad_request",
            f'"{strip.name}" has only one frame; an edit needs at least two.',
            "Choose a movie or an image sequence, or make the strip longer.",
        )
    folder = output or new_frames_folder(scene, strip.name, taken)
    work = Path(tempfile.mkdtemp(prefix="tokenflow_", dir=bpy.app.tempdir))
    source = work / "frames"
    try:
        request = with_paths(template, source, folder)
        source.mkdir()
        reading = read(scene, strip, frames, source, here=here)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return StripEdit(
        uid=unique_strip_uid(strip),
        scene_uid=scene.session_uid,
        strip_name=strip.name,
        frames=frames,
        request=request,
        work=work,
        new_place=None if folder.parent.exists() else folder.parent,
        reading=reading,
        kind=kind,
        progress=Progress("prepare", 0, frames.count),
    )
