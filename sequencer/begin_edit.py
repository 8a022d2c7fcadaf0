"""From a strip and settings to an edit that waits in line, for the first time and again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.progress import Progress
from .frames_folder import new_frames_folder
from .queue_store import QueueStore
from .settings import with_paths
from .strip_alone import StripFrames, frames_of
from .strip_edit import StripEdit
from .strip_frames import Reading, read
from .strip_identity import unique_strip_uid


@dataclass(frozen=True)
class BegunReading:
    """A strip that is ready to be read: its frames' measure and folders, the complete request."""

    frames: StripFrames
    request: EditRequest
    work: Path
    reading: Reading


def begin_edit(
    scene: Scene,
    strip: Strip,
    template: EditRequest,
    store: QueueStore,
    *,
    kind: str,
    here: bool,
    output: Path | None,
    taken: Container[Path],
) -> StripEdit:
    """Measure a strip and make ready to read it; nothing has changed if this raises.

    template: the request without source and output.
    here: render the strip's frames in this process, for a caller that waits anyway; the edit ends
        with this Blender then.
    output: folder for the edited frames; a new one in the place the user chose if None.
    taken: folders that other edits will make.

    Raises:
        TokenFlowError: for a strip or a value that will not do.
    """
    begun = begin_reading(
        scene,
        strip,
        template,
        None if here else store,
        output=output or new_frames_folder(scene, strip.name, taken),
    )
    place = Path(begun.request.output).parent
    return StripEdit(
        uid=unique_strip_uid(strip),
        scene_uid=scene.session_uid,
        scene_name=scene.name,
        strip_name=strip.name,
        blend=bpy.data.filepath,
        frames=begun.frames,
        request=begun.request,
        work=begun.work,
        new_place=None if place.exists() else place,
        reading=begun.reading,
        kind=kind,
        # A preview is looked at now or never.
        is_kept=not here and not template.preview_frames,
        progress=Progress("prepare", 0, begun.frames.count),
    )


def begin_reading(
    scene: Scene,
    strip: Strip,
    template: EditRequest,
    store: QueueStore | None,
    *,
    output: Path,
) -> BegunReading:
    """Measure a strip and make ready to read it into a new folder.

    store: where the folder is made so that it outlives Blender; None for a temporary one, and the
        frames are then rendered in this process.

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
    if template.preview_frames:
        frames = frames.sampled(template.preview_frames)
    work = _work_folder(store)
    source = work / "frames"
    try:
        request = with_paths(template, source, output)
        source.mkdir()
        depth = request.source_depth
        reading = read(scene, strip, frames, source, here=store is None, depth=depth)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return BegunReading(frames, request, work, reading)


def _work_folder(store: QueueStore | None) -> Path:
    try:
        if store is not None:
            return store.new_folder()
        return Path(tempfile.mkdtemp(prefix="tokenflow_", dir=bpy.app.tempdir))
    except OSError as error:
        raise TokenFlowError(
            "no_space",
            "No folder can be made for the strip's frames.",
            "Free some space on the disk of your user folder, then start again.",
            str(error),
        ) from error
