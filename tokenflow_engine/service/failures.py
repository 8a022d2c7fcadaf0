"""Whatever an edit raises, as the error that its user reads."""

from __future__ import annotations

import errno
import traceback

from ..client.errors import TokenFlowError, is_out_of_memory

_DETAILS_CHARACTERS = 20_000


def failure_from(error: BaseException) -> TokenFlowError:
    """Translate an exception; a `TokenFlowError` passes through with its details shortened."""
    if isinstance(error, TokenFlowError):
        return TokenFlowError(error.code, error.message, error.remedy, _shortened(error.details))
    details = _shortened("".join(traceback.format_exception(error)))
    if is_out_of_memory(error):
        return TokenFlowError(
            "out_of_memory",
            "The memory did not suffice for this edit.",
            "Choose a smaller size, a smaller chunk or fewer frames, or close other programs.",
            details,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TokenFlowError(
            "no_space",
            "The disk is full.",
            "Free some space or choose an output folder on another disk.",
            details,
        )
    if isinstance(error, ImportError):
        return TokenFlowError(
            "engine_missing",
            f"The engine's environment is incomplete: {error}.",
            "Install the engine again in the add-on's preferences.",
            details,
        )
    return TokenFlowError(
        "internal",
        f"The engine met an error that it does not know ({type(error).__name__}).",
        "Report it together with the details.",
        details,
    )


def _shortened(text: str) -> str:
    """Keep the end, where a traceback says what happened."""
    return text if len(text) <= _DETAILS_CHARACTERS else "...\n" + text[-_DETAILS_CHARACTERS:]
