"""Which clips are edited, with which prompts, and what is known about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..client.embedded_words import COLOURS
from ..client.errors import TokenFlowError

CAPTIONS = "captions.json"


@dataclass(frozen=True)
class EvaluationClip:
    """One clip and the edit that is asked for.

    source, truth: a movie or a folder of numbered pictures; truth is what a perfect edit gives.
    masks, flow: .npz files, see `ground_truth`. edit: attributes of the toy world that change, with
    their new values. kind: class of the edit, for example "recolouring".
    """

    name: str
    source: Path
    source_prompt: str
    target_prompt: str
    truth: Path | None = None
    masks: Path | None = None
    flow: Path | None = None
    edit: Mapping[str, str] = field(default_factory=dict)
    kind: str = "edit"


def read_clips(
    path: Path, prompt: str | None = None, source_prompt: str | None = None
) -> list[EvaluationClip]:
    """The clips of a folder with `captions.json`, or one movie or folder of pictures with a prompt.

    Raises:
        TokenFlowError: code "bad_request" or "unreadable_source", where anything is missing or
            not as it should be.
    """
    if not path.exists():
        raise TokenFlowError(
            "unreadable_source", f'There is no file or folder "{path}".', "Check the path."
        )
    captions = path / CAPTIONS
    if path.is_dir() and captions.is_file():
        if prompt is not None or source_prompt is not None:
            raise _bad(f"{captions} has prompts already.", "Leave the prompts out.")
        return _from_captions(captions)
    if not (prompt or "").strip():
        missing = f"has no {CAPTIONS}" if path.is_dir() else "is one clip without prompts"
        raise _bad(
            f'"{path}" {missing}.',
            f"Give --prompt for a single clip, or a folder with {CAPTIONS}.",
        )
    assert prompt is not None
    return [EvaluationClip(path.stem, path, source_prompt or "", prompt)]


def class_of(edit: Mapping[str, str]) -> str:
    """The class of an edit of the toy world: recolouring, material, shape, ground, sky or mixed."""
    if len(edit) != 1:
        return "mixed" if edit else "edit"
    name, value = next(iter(edit.items()))
    if name != "look":
        return name
    return "recolouring" if value in COLOURS else "material"


def _from_captions(captions: Path) -> list[EvaluationClip]:
    try:
        entries = json.loads(captions.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad(f"{captions} can't be read as JSON.", "Correct or remove it.") from error
    if not isinstance(entries, list) or not entries:
        raise _bad(f"{captions} is not a list of clips.", "List at least one clip in it.")
    clips = [_clip(captions.parent, number, entry) for number, entry in enumerate(entries, 1)]
    names = [clip.name for clip in clips]
    for name in names:
        if names.count(name) > 1:
            raise _bad(f'{captions} names two clips "{name}".', "Give each its own name.")
    return clips


def _clip(folder: Path, number: int, entry: Any) -> EvaluationClip:
    if not isinstance(entry, dict):
        raise _bad(f"Clip {number} of {CAPTIONS} is not an object.", "Give it a file and prompts.")
    texts = {name: _text(number, entry, name) for name in ("file", "target_prompt")}
    edit = entry.get("edit") or {}
    if not isinstance(edit, dict) or not all(
        isinstance(part, str) for pair in edit.items() for part in pair
    ):
        raise _bad(
            f'Clip {number} of {CAPTIONS} has an "edit" that is not {{attribute: value}}.',
            'Write it like {"look": "blue"}, or leave it out.',
        )
    source = _existing(folder, number, texts["file"])
    beside = source if source.is_dir() else source.with_suffix("")
    truth = entry.get("truth")
    return EvaluationClip(
        name=beside.name,
        source=source,
        source_prompt=_text(number, entry, "source_prompt", optional=True),
        target_prompt=texts["target_prompt"],
        truth=_existing(folder, number, truth) if isinstance(truth, str) and truth else None,
        masks=_there(beside.with_name(f"{beside.name}.masks.npz")),
        flow=_there(beside.with_name(f"{beside.name}.flow.npz")),
        edit=edit,
        kind=_text(number, entry, "class", optional=True) or class_of(edit),
    )


def _text(number: int, entry: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
    value = entry.get(name, "")
    if not isinstance(value, str) or not (value.strip() or optional):
        raise _bad(f'Clip {number} of {CAPTIONS} lacks "{name}".', "Add it as a text.")
    return value


def _existing(folder: Path, number: int, name: str) -> Path:
    path = folder / name
    if not path.exists():
        raise TokenFlowError(
            "unreadable_source",
            f'Clip {number} of {CAPTIONS} names "{name}", which is not in {folder}.',
            "Add the file or remove the entry.",
        )
    return path


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _bad(message: str, remedy: str) -> TokenFlowError:
    return TokenFlowError("bad_request", message, remedy)
