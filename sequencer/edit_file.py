"""An `edit.json` that the engine left beside its pictures, read back."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import bpy
from bpy.types import Scene, Strip

from ..tokenflow_engine.client.edit_request import EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError

_MAX_BYTES = 2**24
"""The keyframes of a long edit make up most of the file."""


def read_edit_file(file: Path) -> EditRequest:
    """The request that an edit was made with, its values checked.

    What a newer add-on wrote beyond what this one knows is left out.

    Raises:
        TokenFlowError: code "bad_request", naming the file and what is wrong with it.
    """
    content = _content(file)
    request = content.get("request") if isinstance(content, dict) else None
    if not isinstance(request, dict) or "prompt" not in request:
        raise _bad(
            f'"{file.name}" holds no edit.', "Choose the edit.json that lies beside edited frames."
        )
    known = {field.name for field in fields(EditRequest)}
    values = {name: value for name, value in request.items() if name in known}
    # A file that was sent from elsewhere says where it was made; that matters to nobody here.
    places = {"source": str(file.parent), "output": str(file.parent), "trajectory": None}
    try:
        return EditRequest.from_json({**values, **places})
    except TokenFlowError as error:
        raise _bad(f'"{file.name}" cannot be used: {error.message}', error.remedy) from error


def source_made_into(folder: Path) -> tuple[Scene, Strip] | None:
    """The strip that the pictures in a folder were made from, if both are in the project."""
    for scene in bpy.data.scenes:
        if scene.sequence_editor is None:
            continue
        strips = scene.sequence_editor.strips_all
        made = [
            strip.tokenflow.source_uid
            for strip in strips
            if strip.tokenflow.folder and Path(bpy.path.abspath(strip.tokenflow.folder)) == folder
        ]
        for strip in strips if made else ():
            if strip.tokenflow.uid and strip.tokenflow.uid == made[0]:
                return scene, strip
    return None


def _content(file: Path) -> Any:
    try:
        with file.open("rb") as opened:
            read = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _bad(
            f'"{file.name}" cannot be read.', "Check that it is there and that you may open it."
        ) from error
    if len(read) > _MAX_BYTES:
        raise _bad(f'"{file.name}" is too large to be an edit.json.', "Choose another file.")
    try:
        return json.loads(read.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _bad(f'"{file.name}" is not JSON.', "Choose another file.") from error


def _bad(message: str, remedy: str) -> TokenFlowError:
    return TokenFlowError("bad_request", message, remedy)
