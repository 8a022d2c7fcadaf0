"""One task in a session of Open Job Description: environments entered, task run, all left again."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from openjd.model import Job, Step
from openjd.sessions import LOG, ActionState, ActionStatus, PathMappingRule, Session

from ..client.job_folder import hash_of
from ..client.step_engine import OWNER_VARIABLE, RUNTIME_VARIABLE
from .job_template import REVISION, FarmJob
from .worker_engine import SHARED_VARIABLE

_LINES_KEPT = 40
_RUNNING = (ActionState.RUNNING,)


@dataclass
class TaskOutcome:
    """How a task ended. values: its parameters by name. log: its last lines."""

    step: str
    values: dict[str, str]
    succeeded: bool
    exit_code: int | None
    message: str
    host: str
    process: int
    started: float
    ended: float
    log: list[str] = field(default_factory=list)


class TaskEnded(Exception):
    """A task ended badly; the outcome says how. Pickled on its way from worker to driver."""

    def __init__(self, outcome: TaskOutcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        return f"{self.outcome.step} {self.outcome.values}: {self.outcome.message}"


class TaskFailed(TaskEnded):
    """Another try may end well."""


class TaskRefused(TaskEnded):
    """Another try would meet the same."""


class _Lines(logging.Handler):
    """Keeps what the actions of one session print."""

    def __init__(self, session_id: str) -> None:
        super().__init__()
        self._session_id = session_id
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "session_id", None) == self._session_id:
            self.lines.append(record.getMessage())
            del self.lines[:-_LINES_KEPT]


def run_task(
    farm_job: FarmJob, job: Job, step: Step, values: dict[str, Any], owner: int
) -> TaskOutcome:
    """Run one task here and wait for it.

    owner: process of the worker, which the engine must not outlive; the engine serves all tasks of
        this worker that see the same GPUs.

    Raises:
        KeyboardInterrupt: the task was cancelled: by notice, and by force where that did not help.
    """
    session_id = f"tokenflow-{uuid.uuid4().hex[:12]}"
    ended = threading.Event()
    lines = _Lines(session_id)
    LOG.addHandler(lines)
    LOG.propagate = False
    started = time.time()

    def callback(_session: str, status: ActionStatus) -> None:
        if status.state not in _RUNNING:
            ended.set()

    session = Session(
        session_id=session_id,
        job_parameter_values=farm_job.parameters(),
        job_name=str(job.name),
        path_mapping_rules=[PathMappingRule.from_dict(rule=dict(r)) for r in farm_job.rules],
        callback=callback,
        os_env_vars=_variables(farm_job, owner),
        revision_extensions=REVISION,
    )
    entered: list[str] = []

    def enter(environment: Any) -> None:
        entered.append(session.enter_environment(environment=environment))

    status: ActionStatus | None = None
    try:
        for environment in [*(job.jobEnvironments or []), *(step.stepEnvironments or [])]:
            status = _wait(session, ended, partial(enter, environment))
            if status.state is not ActionState.SUCCESS:
                break
        else:
            run = partial(session.run_task, step_script=step.script, task_parameter_values=values)
            status = _wait(session, ended, run)
        for identifier in reversed(entered):
            _wait(session, ended, partial(session.exit_environment, identifier=identifier))
    finally:
        session.cleanup()
        LOG.removeHandler(lines)
    return TaskOutcome(
        step=str(step.name),
        values={name: str(value.value) for name, value in values.items()},
        succeeded=status is not None and status.state is ActionState.SUCCESS,
        exit_code=None if status is None else status.exit_code,
        message=_message(status),
        host=os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", ""),
        process=owner,
        started=started,
        ended=time.time(),
        log=lines.lines,
    )


def _wait(session: Session, ended: threading.Event, act: Callable[[], Any]) -> ActionStatus:
    """Start an action and wait for its end; an interruption cancels it."""
    ended.clear()
    act()
    try:
        while not ended.wait(0.2):
            pass
    except KeyboardInterrupt:
        session.cancel_action(time_limit=timedelta(seconds=60))
        ended.wait(90)
        raise
    status = session.action_status
    assert status is not None
    return status


def _message(status: ActionStatus | None) -> str:
    if status is None:
        return "It did not begin."
    if status.state is ActionState.SUCCESS:
        return status.status_message or ""
    return status.fail_message or f"{status.state.value}, exit code {status.exit_code}"


def _variables(farm_job: FarmJob, owner: int) -> dict[str, str]:
    """One engine for each worker, job and set of GPUs, however many sessions share it."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    name = hash_of({"job": farm_job.values.get("JobFolder", ""), "owner": owner, "gpus": gpus})
    runtime = Path(tempfile.gettempdir()) / f"tokenflow-farm-{name[:12]}"
    return {
        OWNER_VARIABLE: str(owner),
        RUNTIME_VARIABLE: str(runtime),
        SHARED_VARIABLE: "1",
    }
