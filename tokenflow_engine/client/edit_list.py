"""Edit lists: JSON that says which strips to edit and how, for the command line and the farm.

    {"format": "tokenflow-edit-list", "version": 1, "blend": "shot.blend", "edits": [
        {"name": "clip", "strip": "clip", "source": {"frame_count": 24}, "frames": [0, 24],
         "prompt": "...", "seed": 0, "model": "embedded", "model_hash": "...", ...}]}

An edit has the names and bounds of an `EditRequest`; what it leaves out has that one's default.
`farm/edit_list.schema.json` is the published schema, see `edit_list_schema`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from .edit_request import EditRequest
from .errors import TokenFlowError

FORMAT = "tokenflow-edit-list"
VERSION = 1
MAX_FILE_BYTES, MAX_EDITS, MAX_NAME = 16 * 2**20, 10_000, 64

LEFT_OUT = {
    *("source", "output", "keyframe_schedule", "trajectory", "last_phase", "frames"),
    *("preview_frames", "processes", "piece"),
}
"""Fields of a request that belong to one machine, or that an edit of a list says differently."""

SETTINGS = tuple(field for field in fields(EditRequest) if field.name not in LEFT_OUT)
_OWN = ("name", "strip", "scene", "source", "frames", "preset", "model_hash")
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


@dataclass(frozen=True)
class ListedEdit:
    """One edit of an edit list.

    name: unique in its list, also without regard to capitals; names its folders in a job.
    strip, scene: what is edited; an empty scene finds the strip in whichever scene has it.
    file: the strip's movie or folder as the .blend names it, to be read by people.
    frame_count: frames of the whole strip; None in a list that was not completed by Blender.
    frames: (first, last + 1) counted in the strip, None for all.
    preset: name of the preset that settings are taken from unless they are given here.
    settings: some of `SETTINGS` by name.
    model_hash: `model_hash.fingerprint` of the model, empty to take any.
    """

    name: str
    strip: str
    scene: str = ""
    file: str = ""
    frame_count: int | None = None
    frames: tuple[int, int] | None = None
    preset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    model_hash: str = ""

    def request(self, source: Path, output: Path) -> EditRequest:
        """The request to edit the strip's pictures in `source`.

        Raises:
            TokenFlowError: code "bad_request", if there is no prompt or a value is out of bounds.
        """
        given = {"source": str(source), "prompt": "", "output": str(output), **self.settings}
        try:
            return EditRequest.from_json({**given, "frames": self.frames})
        except TokenFlowError as error:
            raise _in_edit(self.name, error) from error

    def range(self) -> tuple[int, int]:
        """(first, last + 1) of the frames that are edited.

        Raises:
            TokenFlowError: code "bad_request", for a list that Blender has not completed.
        """
        if self.frames is not None:
            return self.frames
        if self.frame_count is None:
            raise TokenFlowError(
                "bad_request",
                f'The edit list does not say how many frames "{self.name}" has.',
                "Complete it: blender -b SHOT.blend --command tokenflow export --edit-list FILE.",
            )
        return 0, self.frame_count

    def to_json(self) -> dict[str, Any]:
        source = {"file": self.file, "frame_count": self.frame_count}
        own = {
            "name": self.name,
            "strip": self.strip,
            "scene": self.scene,
            "source": {k: v for k, v in source.items() if v},
            "frames": None if self.frames is None else list(self.frames),
            "preset": self.preset,
            "model_hash": self.model_hash,
        }
        return {k: v for k, v in own.items() if v} | dict(self.settings)


@dataclass(frozen=True)
class EditList:
    """Edits of one project. blend: its path, absolute once read from a file; may be empty."""

    edits: tuple[ListedEdit, ...]
    blend: str = ""

    def edit(self, name: str) -> ListedEdit:
        """Raises TokenFlowError, code "bad_request", where there is no such edit."""
        found = next((listed for listed in self.edits if listed.name == name), None)
        if found is None:
            names = ", ".join(e.name for e in self.edits[:10])
            _bad(f'The edit list has no edit "{name}".', f"Choose one of: {names}.")
        return found

    def to_json(self) -> dict[str, Any]:
        head = {"format": FORMAT, "version": VERSION, "blend": self.blend}
        return {**head, "edits": [listed.to_json() for listed in self.edits]}

    def write(self, file: Path) -> None:
        """Write the whole file or nothing; the blend relative to it, so that both can move.

        Raises:
            TokenFlowError: code "no_space", if it cannot be written.
        """
        partial = file.with_name(f".{file.name}.partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            values = self.to_json() | {"blend": _relative(self.blend, file.parent)}
            text = json.dumps(values, indent=1, ensure_ascii=False)
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(file)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise TokenFlowError(
                "no_space",
                f'The edit list "{file}" could not be written.',
                "Check that there is space and that the folder may be written to.",
                str(error),
            ) from error


def read_edit_list(file: Path) -> EditList:
    """The edits in a file, each checked.

    Raises:
        TokenFlowError: code "bad_request", naming the file, the edit and what is wrong with it.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenFlowError(
            "bad_request",
            f'The edit list "{file}" cannot be read.',
            "Check that it is there and that you may open it.",
            str(error),
        ) from error
    try:
        found = parse_edit_list(content)
    except TokenFlowError as error:
        raise TokenFlowError(
            error.code, f'"{file.name}": {error.message}', error.remedy, error.details
        ) from error
    if found.blend and not Path(found.blend).is_absolute():
        found = replace(found, blend=str((file.absolute().parent / found.blend).resolve()))
    return found


def parse_edit_list(content: bytes) -> EditList:
    """See `read_edit_list`; the blend stays as it is written."""
    if len(content) > MAX_FILE_BYTES:
        _bad("The file is too large to be an edit list.", "Choose another.")
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise TokenFlowError(
            "bad_request", "This is not JSON.", "Export the edit list again.", str(error)
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        _bad("This is no edit list.", 'Choose a file that "Export Edit List" wrote.')
    if found.get("version") != VERSION:
        _bad(
            f"The edit list has version {found.get('version')!r}, not {VERSION}.",
            "Export it again with this TokenFlow Edit.",
        )
    edits, blend = found.get("edits"), found.get("blend", "")
    if unknown := sorted(found.keys() - {"format", "version", "blend", "edits", "$schema"}):
        _bad(f"There is an unknown entry {unknown[0]!r}.", "Remove it.")
    if not isinstance(blend, str) or not isinstance(edits, list) or not edits:
        _bad("The edit list holds no edits.", "Add some, or export it again.")
    if len(edits) > MAX_EDITS:
        _bad(f"The edit list holds more than {MAX_EDITS} edits.", "Divide it.")
    listed = tuple(_edit(entry, number) for number, entry in enumerate(edits, 1))
    seen: set[str] = set()
    for edit in listed:
        if edit.name.casefold() in seen:
            _bad(f'Two edits are named "{edit.name}".', "Give each its own name.")
        seen.add(edit.name.casefold())
    return EditList(listed, blend)


def unique_names(wanted: Sequence[str]) -> list[str]:
    """A name for each strip that is fit for a folder and unlike all others."""
    names: list[str] = []
    taken: set[str] = set()
    for strip in wanted:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", strip).strip("_")[: MAX_NAME - 6] or "strip"
        name, number = stem, 2
        while name.casefold() in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _relative(blend: str, folder: Path) -> str:
    # Another drive on Windows has no relative path.
    with contextlib.suppress(ValueError):
        return Path(os.path.relpath(blend, folder.absolute())).as_posix() if blend else ""
    return blend


def _edit(entry: object, number: int) -> ListedEdit:
    if not isinstance(entry, dict):
        _bad(f"Edit {number} is no object.", "Correct the file, or export it again.")
    name = entry.get("name", "")
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        _bad(
            f"Edit {number} has no usable name.",
            f"Use 1 to {MAX_NAME} letters, digits, dots, hyphens and underscores.",
        )
    try:
        return _checked(name, entry)
    except TokenFlowError as error:
        raise _in_edit(name, error) from error


def _checked(name: str, entry: Mapping[str, Any]) -> ListedEdit:
    settings = {key: value for key, value in entry.items() if key not in _OWN}
    known = {field.name for field in SETTINGS}
    if unknown := sorted(settings.keys() - known):
        _bad(f"There is an unknown entry {unknown[0]!r}.", "Remove it.")
    texts = {key: entry.get(key, "") for key in ("strip", "scene", "preset", "model_hash")}
    for key, value in texts.items():
        if not isinstance(value, str) or len(value) > 2000:
            _bad(f"The {key.replace('_', ' ')} is {value!r}.", "Give a text.")
    if not texts["strip"]:
        _bad("No strip is named.", "Name one.")
    source = entry.get("source", {})
    if not isinstance(source, dict) or source.keys() - {"file", "frame_count"}:
        _bad("The source is not an object of file and frame_count.", "Correct it.")
    count, file = source.get("frame_count"), source.get("file", "")
    if (count is not None and (type(count) is not int or count < 1)) or not isinstance(file, str):
        _bad("The source's frame_count is no whole number above 0.", "Correct or remove it.")
    if not settings.get("prompt") and not texts["preset"]:
        _bad("There is neither a prompt nor a preset.", "Give one.")
    # A request checks the rest, with its own types and bounds.
    stand_in = {"source": "-", "output": "-", "prompt": "-"}
    request = EditRequest.from_json({**stand_in, **settings, "frames": entry.get("frames")})
    if request.frames is not None and count is not None and request.frames[1] > count:
        _bad(
            f"The frame range {request.frames[0]}:{request.frames[1]} goes beyond the strip's "
            f"{count} frames.",
            f"Choose a range within 0:{count}.",
        )
    cast = {key: getattr(request, key) for key in settings}
    return ListedEdit(
        name=name,
        file=file,
        frame_count=count,
        frames=request.frames,
        settings=cast,
        **texts,
    )


def _in_edit(name: str, error: TokenFlowError) -> TokenFlowError:
    return TokenFlowError(
        error.code, f'In the edit "{name}": {error.message}', error.remedy, error.details
    )


def _bad(message: str, remedy: str) -> NoReturn:
    raise TokenFlowError("bad_request", message, remedy)
