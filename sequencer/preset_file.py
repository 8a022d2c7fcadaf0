"""What a preset is, and the JSON that bundled, own, imported and exported ones are written in.

    {"format": "tokenflow-presets", "version": 1, "presets": [
        {"name": "Oil Painting", "description": "...", "model": "", "values": {"prompt": "..."}}]}

Blender's own presets are Python that is executed when they are applied. A file that artists send
one another must not be able to do anything: these hold values, and each is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..tokenflow_engine.client.edit_request import BOUNDS, CHOICES, EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError

FORMAT = "tokenflow-presets"
VERSION = 1
PRESET_FIELDS = (
    "prompt",
    "negative_prompt",
    "editor",
    "steps",
    "guidance_scale",
    "pnp_attention",
    "pnp_features",
    "sdedit_start",
)
"""Fields of an `EditRequest` that a preset can hold; the rest belongs to strip or machine."""

MAX_NAME, MAX_TEXT, MAX_FILE_BYTES, MAX_PRESETS = 64, 2000, 2**20, 1000

_TYPES = {field.name: str(field.type) for field in fields(EditRequest)}


@dataclass(frozen=True)
class Preset:
    """Values for the next edit under a name.

    values: some of `PRESET_FIELDS`; applying leaves the others as they are.
    model: "embedded" if the words are those of the demonstration model, else empty.
    """

    name: str
    values: Mapping[str, str | int | float]
    description: str = ""
    model: str = ""


def write_presets(presets: Sequence[Preset]) -> str:
    """The text of a file with these presets."""
    content = {"format": FORMAT, "version": VERSION, "presets": [asdict(p) for p in presets]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_presets(file: Path) -> list[Preset]:
    """The presets in a file, each checked.

    Raises:
        TokenFlowError: code "bad_request", naming the file and what is wrong with it.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenFlowError(
            "bad_request",
            f'"{file.name}" cannot be read.',
            "Check that it is there and that you may open it.",
            str(error),
        ) from error
    try:
        return _parse(content)
    except TokenFlowError as error:
        raise TokenFlowError(
            error.code, f'"{file.name}" {error.message}', error.remedy, error.details
        ) from error


def checked_name(name: str) -> str:
    """The name without spaces around it.

    Raises:
        TokenFlowError: code "bad_request".
    """
    name = name.strip()
    if not name:
        raise _bad("A preset needs a name.", "Type one.")
    if len(name) > MAX_NAME or not name.isprintable():
        raise _bad(
            f"The name {name[:MAX_NAME]!r} will not do.",
            f"Use at most {MAX_NAME} characters, in one line.",
        )
    return name


def _parse(content: bytes) -> list[Preset]:
    """Messages go on after the file's name."""
    if len(content) > MAX_FILE_BYTES:
        raise _bad("is too large to be a preset file.", f"Choose one under {MAX_FILE_BYTES} bytes.")
    ours = "Choose a file that TokenFlow Edit exported."
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _bad("is not JSON.", ours, str(error)) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _bad("holds no presets.", ours)
    version = found.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _bad("does not say its version.", ours)
    if version > VERSION:
        raise _bad("was written by a newer TokenFlow Edit.", "Update the add-on, then try again.")
    listed = found.get("presets")
    if not isinstance(listed, list) or not listed:
        raise _bad("holds no presets.", ours)
    if len(listed) > MAX_PRESETS:
        raise _bad(f"holds more than {MAX_PRESETS} presets.", "Divide it.")
    return [_preset(entry, number) for number, entry in enumerate(listed, 1)]


def _preset(entry: object, number: int) -> Preset:
    where = f"cannot be used: preset {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _bad(f"{where} has no name.", "Correct the file, or export it again.")
    try:
        name = checked_name(entry["name"])
    except TokenFlowError as error:
        raise _bad(f"{where} has no usable name.", error.remedy) from error
    where = f'cannot be used: in "{name}"'
    unknown = sorted(map(str, entry.keys() - {"name", "description", "model", "values"}))
    if unknown:
        raise _bad(f"{where} there is an unknown entry {unknown[0]!r}.", "Remove it.")
    description, model = entry.get("description", ""), entry.get("model", "")
    if not _is_text(description):
        raise _bad(f"{where} the description is no text.", "Correct or remove it.")
    if model not in ("", "embedded"):
        raise _bad(f'{where} the model is not "embedded" or empty.', "Correct or remove it.")
    values = entry.get("values")
    if not isinstance(values, dict) or not values:
        raise _bad(f"{where} there are no values.", "Add some, or export it again.")
    checked = {name: _value(name, value, where) for name, value in values.items()}
    return Preset(name, checked, description, model)


def _value(name: str, value: object, where: str) -> str | int | float:
    if name not in PRESET_FIELDS:
        raise _bad(
            f"{where} there is an unknown value {name!r}.",
            f"Use only {', '.join(PRESET_FIELDS)}.",
        )
    spoken = name.replace("_", " ")
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise _bad(
                f"{where} the {spoken} is {value!r}.", f"Use one of {', '.join(CHOICES[name])}."
            )
        return str(value)
    if name not in BOUNDS:
        if not _is_text(value):
            raise _bad(f"{where} the {spoken} is no text.", f"Use at most {MAX_TEXT} characters.")
        return str(value)
    low, high = BOUNDS[name]
    whole = _TYPES[name] == "int"
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    # A comparison with "not a number" is false, so that it is refused as well.
    if not is_number or not low <= value <= high:  # type: ignore[operator]
        kind = "a whole number" if whole else "a number"
        raise _bad(f"{where} the {spoken} is {value!r}.", f"Use {kind} from {low:g} to {high:g}.")
    return value if whole else float(value)  # type: ignore[arg-type,return-value]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value


def _bad(message: str, remedy: str, details: str = "") -> TokenFlowError:
    return TokenFlowError("bad_request", message, remedy, details)
