"""A copy of the open .blend; the file that is open is never written."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..tokenflow_engine.client.errors import TokenFlowError


def copy_path(wanted: Path | None, beside: Path | None = None) -> Path:
    """Where the copy goes: as wanted, else SHOT_tokenflow.blend in a folder or beside the shot.

    beside: a folder of ours, in which an older copy is replaced; beside the shot none is, and the
        name gets a number.

    Raises:
        TokenFlowError: code "bad_request", if no .blend is open or it would be replaced.
    """
    opened = Path(bpy.data.filepath) if bpy.data.filepath else None
    if wanted is None and opened is None:
        raise TokenFlowError(
            "bad_request",
            "No .blend is open, so there is none to save a copy beside.",
            "Open one, or name the copy with --output-blend.",
        )
    if wanted is None and opened is not None:
        if beside is not None:
            return beside / f"{opened.stem}_tokenflow.blend"
        copy, number = opened.with_name(f"{opened.stem}_tokenflow.blend"), 2
        while copy.exists():
            copy = opened.with_name(f"{opened.stem}_tokenflow_{number}.blend")
            number += 1
        return copy
    copy = Path(str(wanted)).absolute()
    if opened is not None and copy.resolve() == opened.resolve():
        raise TokenFlowError(
            "bad_request",
            "The copy would replace the .blend that is open.",
            "Give --output-blend another name.",
        )
    return copy


def save_copy(blend: Path) -> None:
    """Save the project there; what is open stays open.

    Raises:
        TokenFlowError: code "no_space".
    """
    try:
        blend.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(blend), copy=True, check_existing=False)
    except (OSError, RuntimeError) as error:
        raise TokenFlowError(
            "no_space",
            f"The copy could not be saved as {blend}.",
            "Check that there is space and that the folder may be written to.",
            str(error),
        ) from error
