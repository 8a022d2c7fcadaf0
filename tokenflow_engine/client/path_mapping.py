"""Paths of the machine that submitted a job, as this machine sees them.

The rules are Open Job Description's `pathmapping-1.0` (specification, "Path Mapping Rules"), as the
file that `{{Session.PathMappingRulesFile}}` names holds them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from .errors import TokenFlowError

_FORMATS: dict[str, type[PurePath]] = {"POSIX": PurePosixPath, "WINDOWS": PureWindowsPath}


@dataclass(frozen=True)
class PathMapping:
    """rules: (path format, source, destination), the most specific first."""

    rules: Sequence[tuple[str, str, str]] = ()

    def __call__(self, path: str) -> str:
        """The path here; as it is where no rule fits."""
        for kind, source, destination in self.rules:
            given, start = _FORMATS[kind](path), _FORMATS[kind](source)
            if given.is_absolute() and given.is_relative_to(start):
                return str(Path(destination, *given.relative_to(start).parts))
        return path


def read_path_mapping(file: Path | None) -> PathMapping:
    """The rules in a file; none without a file.

    Raises:
        TokenFlowError: code "bad_request", for a file that holds no rules.
    """
    if file is None:
        return PathMapping()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        # Open Job Description writes an empty object where there is nothing to map.
        listed = found.get("path_mapping_rules", [])
        rules = [
            (
                str(rule["source_path_format"]).upper(),
                str(rule["source_path"]),
                str(rule["destination_path"]),
            )
            for rule in listed
        ]
        rules.sort(key=lambda rule: len(_FORMATS[rule[0]](rule[1]).parts), reverse=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TokenFlowError(
            "bad_request",
            f'"{file}" holds no path mapping rules.',
            "Give a file in Open Job Description's form pathmapping-1.0.",
            repr(error),
        ) from error
    return PathMapping(tuple(rules))
