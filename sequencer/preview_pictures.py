"""The pictures of previews, as icons that a panel can draw.

They lie in Blender's temporary folder and go with it; nothing of a preview is in the project.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
import bpy.utils.previews

if TYPE_CHECKING:
    from .strip_edit import StripEdit

_icons: bpy.utils.previews.ImagePreviewCollection | None = None


def new_preview_folder() -> Path:
    """A folder that does not exist yet, for the pictures of one preview."""
    return Path(tempfile.mkdtemp(prefix="tokenflow_preview_", dir=bpy.app.tempdir)) / "pictures"


def show_preview(edit: StripEdit) -> None:
    """Make icons of a preview's pictures, once the engine has written them."""
    if _icons is None:
        return
    for picture in pictures_of(edit):
        if str(picture) not in _icons:
            _icons.load(str(picture), str(picture), "IMAGE")


def pictures_of(edit: StripEdit) -> list[Path]:
    """The pictures in the order of their frames."""
    if edit.result is None:
        return []
    return [
        Path(edit.result.output) / edit.request.picture_name(n)
        for n in range(edit.result.frame_count)
    ]


def icon_of_picture(picture: Path) -> int:
    """What `UILayout.template_icon` draws; 0 draws nothing."""
    if _icons is None or str(picture) not in _icons:
        return 0
    return int(_icons[str(picture)].icon_id)


def discard_preview(edit: StripEdit) -> None:
    """Delete a preview's pictures and their icons."""
    for picture in pictures_of(edit):
        if _icons is not None and str(picture) in _icons:
            del _icons[str(picture)]
    folder = Path(edit.request.output).parent
    if folder.name.startswith("tokenflow_preview_"):
        shutil.rmtree(folder, ignore_errors=True)


def register() -> None:
    global _icons
    _icons = bpy.utils.previews.new()


def unregister() -> None:
    global _icons
    if _icons is not None:
        bpy.utils.previews.remove(_icons)
    _icons = None
