"""Errors a user reads: one sentence for what is wrong, one for the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EXIT_CODES = {
    "bad_request": 2,
    "unknown_words": 2,
    "unreadable_source": 3,
    "unknown_model": 4,
    "unsafe_model": 4,
    "no_configuration": 4,
    "no_space": 5,
    "out_of_memory": 6,
    "engine_missing": 7,
    "engine_lost": 8,
    "cancelled": 9,
    "internal": 1,
}
"""Process exit code for each error code; every other code exits with 1."""


@dataclass(eq=False)
class TokenFlowError(Exception):
    """What went wrong, in the user's words.

    code: stable identifier, a key of `EXIT_CODES`.
    message: one sentence that says what is wrong.
    remedy: one sentence that says what to do about it; may be empty.
    details: text for the copyable report (a traceback, a log tail); never shown first.
    """

    code: str
    message: str
    remedy: str = ""
    details: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    @property
    def exit_code(self) -> int:
        return EXIT_CODES.get(self.code, 1)

    def to_json(self) -> dict[str, str]:
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "details": self.details,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TokenFlowError:
        return cls(
            *(str(fields.get(name, "")) for name in ("code", "message", "remedy", "details"))
        )


class Cancelled(TokenFlowError):
    """The user cancelled; finished phases are kept, nothing else is left behind."""

    def __init__(self) -> None:
        super().__init__("cancelled", "The edit was cancelled.")


_MEMORY_PHRASES = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")
"""How torch words it on accelerators and on the CPU; only CUDA has an exception of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of torch or of Python, says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(
        phrase in str(error).lower() for phrase in _MEMORY_PHRASES
    )
