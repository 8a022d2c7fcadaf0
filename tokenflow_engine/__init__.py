"""TokenFlow Edit's engine: consistent video editing by text, run as its own process.

`edit(request)` makes one edit; `EditRequest` describes it. Both are loaded on first use, so that
Blender's Python can import `tokenflow_engine.client` (standard library only) without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["EditRequest", "EditResult", "Progress", "TokenFlowError", "__version__", "edit"]

if TYPE_CHECKING:
    from .client.edit_request import EditRequest
    from .client.errors import TokenFlowError
    from .client.progress import EditResult, Progress
    from .phases.edit_run import edit

_HOMES = {
    "EditRequest": ".client.edit_request",
    "TokenFlowError": ".client.errors",
    "EditResult": ".client.progress",
    "Progress": ".client.progress",
    "edit": ".phases.edit_run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name], __name__), name)
