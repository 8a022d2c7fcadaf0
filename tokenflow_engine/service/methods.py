"""What clients may ask for, once they are trusted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..client.edit_request import EditRequest
from ..client.errors import TokenFlowError
from . import capabilities
from .job_paths import checked_paths
from .job_queue import JobQueue

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_TEXT = 1 << 16
"""Characters; keeps every message about the job, which may quote it, within one frame."""

Params = dict[str, Any]


class EngineMethods:
    """The methods that answer at once; each takes the parameters and returns the result."""

    def __init__(self, queue: JobQueue, runtime: Path) -> None:
        self._queue = queue
        self._runtime = runtime
        self.devices: list[dict[str, Any]] | None = None
        self.by_name: dict[str, Callable[[Params], Params]] = {
            "capabilities": lambda params: capabilities.capabilities(self.devices),
            "models.list": self._models,
            "job.submit": self._submit,
            "job.cancel": lambda params: self._queue.cancel(job_id(params)),
            "job.order": self._order,
            "job.status": self._status,
        }

    def _models(self, params: Params) -> Params:
        folders = params.get("folders", [])
        if not isinstance(folders, list) or not all(isinstance(path, str) for path in folders):
            raise TokenFlowError("bad_request", "The folders to look in are not a list of paths.")
        return {"models": capabilities.models(folders)}

    def _submit(self, params: Params) -> Params:
        request = params.get("request")
        if not isinstance(request, dict):
            raise TokenFlowError("bad_request", "The job holds no request.")
        if any(len(text) > _MAX_TEXT for text in request.values() if isinstance(text, str)):
            raise TokenFlowError("bad_request", "A text is too long.", "Shorten the prompts.")
        checked = checked_paths(EditRequest.from_json(request), self._runtime)
        position = self._queue.submit(job_id(params), checked)
        return {"job": job_id(params), "state": "queued", "position": position}

    def _order(self, params: Params) -> Params:
        jobs = params.get("jobs")
        if not isinstance(jobs, list) or not all(isinstance(job, str) for job in jobs):
            raise TokenFlowError("bad_request", "The order is not a list of jobs.")
        return {"waiting": self._queue.order(jobs)}

    def _status(self, params: Params) -> Params:
        if "job" not in params:
            return {"jobs": self._queue.describe_all()}
        return self._queue.describe(job_id(params))


def job_id(params: Params) -> str:
    """The job that a request names: 1 to 64 letters, digits, hyphens and underscores."""
    value = params.get("job")
    if not isinstance(value, str) or not _JOB_ID.fullmatch(value):
        raise TokenFlowError("bad_request", "The request names no job.")
    return value
