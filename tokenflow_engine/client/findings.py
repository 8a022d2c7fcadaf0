"""What an examination finds, in the words of the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACTIONS = ("install_engine", "clear_cache", "choose_folders", "allow_online")
"""What a button can do about a finding."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    check: what was looked at. status: "OK", "WARN" (edits work, but) or "FAIL" (they do not).
    message: what was found. remedy: what to do about it, empty when all is well.
    action: one of `ACTIONS` where a button can do it, else empty.
    """

    check: str
    status: str
    message: str
    remedy: str = ""
    action: str = ""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Finding:
        names = ("check", "status", "message", "remedy", "action")
        return cls(*(str(fields.get(name, "")) for name in names))
