"""The published schema of an edit list, from the same fields and bounds that a request has.

`python -m tokenflow_engine farm schema` writes `farm/edit_list.schema.json`.
"""

from __future__ import annotations

from typing import Any

from .edit_list import FORMAT, MAX_EDITS, NAME_PATTERN, SETTINGS, VERSION
from .edit_request import BOUNDS, CHOICES


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an edit list."""
    pair = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    text = {"type": "string", "maxLength": 2000}
    own: dict[str, Any] = {
        "name": {"type": "string", "pattern": f"^{NAME_PATTERN}$"},
        "strip": {**text, "minLength": 1},
        "scene": text,
        "source": {
            "type": "object",
            "properties": {
                "file": {"type": "string"},
                "frame_count": {"type": "integer", "minimum": 1},
            },
            "additionalProperties": False,
        },
        "frames": {"anyOf": [pair, {"type": "null"}]},
        "preset": text,
        "model_hash": text,
    }
    types = {"str": "string", "int": "integer", "float": "number"}
    for setting in SETTINGS:
        kind = str(setting.type)
        if kind.startswith("tuple"):
            own[setting.name] = {"anyOf": [pair, {"type": "null"}]}
            continue
        described: dict[str, Any] = {"type": types[kind.partition(" ")[0]]}
        if kind.endswith("None"):
            described = {"anyOf": [described, {"type": "null"}]}
        if setting.name in CHOICES:
            described["enum"] = list(CHOICES[setting.name])
        if setting.name in BOUNDS:
            described["minimum"], described["maximum"] = BOUNDS[setting.name]
        own[setting.name] = {**described, "default": setting.default}
    own["prompt"].pop("default")
    edit = {
        "type": "object",
        "properties": own,
        "required": ["name", "strip"],
        "anyOf": [{"required": ["prompt"]}, {"required": ["preset"]}],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "TokenFlow Edit: edit list",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "format": {"const": FORMAT},
            "version": {"const": VERSION},
            "blend": {"type": "string"},
            "edits": {"type": "array", "items": edit, "minItems": 1, "maxItems": MAX_EDITS},
        },
        "required": ["format", "version", "edits"],
        "additionalProperties": False,
    }
