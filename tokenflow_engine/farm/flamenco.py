"""The settings of the Flamenco job type, from the same list as everything else.

Source: Flamenco's manual, "Job Types" (settings: key, type, subtype, required, default).
"""

from __future__ import annotations

import json
import re

from .parameters import PARAMETERS

_BLOCK = re.compile(
    r"^    settings: \[.*?^    \],$|^    settings: \[\],$", re.DOTALL | re.MULTILINE
)
_LEFT_OUT = ("Title", "EngineIdleSeconds")
"""A job's name is Flamenco's own, and it has no environments that an engine could be started in."""


def with_settings(source: str) -> str:
    """The job type's source with its settings written anew.

    Raises:
        ValueError: it has no place for settings.
    """
    lines = []
    for parameter in PARAMETERS:
        if parameter.name in _LEFT_OUT:
            continue
        values = [f"{key}: {json.dumps(value)}" for key, value in parameter.flamenco().items()]
        lines.append(f"        {{ {', '.join(values)} }},")
    written = "\n".join(["    settings: [", *lines, "    ],"])
    found, count = _BLOCK.subn(lambda _match: written, source, count=1)
    if not count:
        raise ValueError("there is no line `settings: [`")
    return found
