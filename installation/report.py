"""The report that an artist sends with a question: what is installed, set and logged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..tokenflow_engine.client.findings import Finding

_LOG_LINES = 60
_SECRETS = (
    (re.compile(r"(?<=//)[^/@\s]+@"), "...@"),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), "hf_..."),
    (re.compile(r"(?i)\b(token|password|secret|api_key)(\W{1,3})[^\s\"',}]+"), r"\1\2..."),
)


def system_report(
    versions: Mapping[str, str],
    settings: Mapping[str, object],
    findings: Sequence[Finding],
    logs: Sequence[Path],
    home: Path,
) -> str:
    """The whole report as text, without passwords, tokens and the user's name in paths.

    home: the user's folder, written as ~.
    """
    parts = ["TokenFlow Edit report", ""]
    parts += [f"{name}: {version}" for name, version in versions.items()]
    parts += ["", "Settings"]
    parts += [f"  {name}: {value}" for name, value in settings.items()]
    parts += ["", "Doctor"]
    parts += [f"  {f.status} {f.check}: {f.message}" for f in findings] or ["  not asked"]
    for log in logs:
        parts += ["", f"{log.name}, last lines", *_tail(log)]
    return without_secrets("\n".join(parts), home)


def without_secrets(text: str, home: Path) -> str:
    """The text without what nobody else should read."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    folder = str(home)
    return text.replace(folder, "~") if len(folder) > 1 else text


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 200 * _LOG_LINES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ["  cannot be read"]
    return [f"  {line}" for line in text.splitlines()[-_LOG_LINES:]]
