"""An edit as the JSON that outlives Blender."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.progress import EditResult
from .framing import Crop
from .stage import Stage
from .strip_alone import StripFrames
from .strip_edit import StripEdit
from .strip_frames import FramesAtHand

_FORMAT = 1
_TEXTS = ("id", "kind", "uid", "blend", "scene_name", "strip_name", "result_name", "result_uid")


def record_of(edit: StripEdit, number: int) -> dict[str, Any]:
    """The edit's values. number: its place in the queue."""
    return {
        "format": _FORMAT,
        "number": number,
        **{name: getattr(edit, name) for name in _TEXTS},
        "channel": edit.channel,
        "stage": edit.stage.value,
        "frames": asdict(edit.frames),
        "frames_read": edit.reading.finished,
        "request": edit.request.to_json(),
        "new_place": None if edit.new_place is None else str(edit.new_place),
        "result": None if edit.result is None else edit.result.to_json(),
        "error": None if edit.error is None else edit.error.to_json(),
    }


def edit_from(values: dict[str, Any], folder: Path) -> StripEdit | None:
    """The edit that a record describes, as it stands after its Blender has ended.

    None for one that is settled, that another version of the add-on wrote, or that is damaged.
    """
    try:
        if values["format"] != _FORMAT:
            return None
        frames = values["frames"]
        new_place, result, error = values["new_place"], values["result"], values["error"]
        texts: dict[str, Any] = {name: str(values[name]) for name in _TEXTS}
        edit = StripEdit(
            **texts,
            channel=int(values["channel"]),
            scene_uid=0,
            frames=_frames_from(frames),
            request=EditRequest.from_json(values["request"]),
            work=folder,
            new_place=None if new_place is None else Path(new_place),
            reading=FramesAtHand(int(frames["end"] - frames["first"]), bool(values["frames_read"])),
            result=None if result is None else EditResult.from_json(result),
            error=None if error is None else TokenFlowError.from_json(error),
            is_kept=True,
        )
        edit.stage = _stage_after_the_end(Stage(values["stage"]), edit)
    except (KeyError, TypeError, ValueError, TokenFlowError):
        return None
    return None if edit.stage is Stage.CANCELLED else edit


def _frames_from(values: dict[str, Any]) -> StripFrames:
    pairs = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return StripFrames(**{**values, **pairs, "crop": Crop(**values["crop"])})


def _stage_after_the_end(stage: Stage, edit: StripEdit) -> Stage:
    if edit.result is not None:
        return Stage.UNPLACED
    return stage if stage.finished else Stage.INTERRUPTED
