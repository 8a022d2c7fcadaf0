"""What the worker runs: the engine's edit, loaded with the first job."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Protocol, cast

from ..client.edit_request import EditRequest
from ..client.progress import CancelCheck, EditResult, ProgressCallback


class RunEdit(Protocol):
    """The shape of `phases.edit_run.edit`."""

    def __call__(
        self,
        request: EditRequest,
        *,
        progress: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
    ) -> EditResult: ...


def run_edit(
    request: EditRequest,
    *,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> EditResult:
    """Make one edit. Loading torch takes seconds, so the socket must not wait for it."""
    edit = cast(RunEdit, import_module("..phases.edit_run", __package__).edit)
    return edit(request, progress=progress, cancelled=cancelled)


def release_models() -> None:
    """Give the memory of loaded models back, if any edit has been made."""
    module = sys.modules.get(f"{__package__.rpartition('.')[0]}.phases.edit_run")
    release = getattr(module, "release_models", None)
    if release is not None:
        release()
        gc.collect()
