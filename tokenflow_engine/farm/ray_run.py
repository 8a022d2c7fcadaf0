"""A job's tasks on a Ray cluster; Ray alone decides what runs where and what runs again.

Each task is a Ray task that waits for the results of the steps before its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from openjd.model import Job, Step
from ray.cluster_utils import Cluster
from ray.exceptions import RayError, RayTaskError

from ..client.errors import Cancelled, TokenFlowError
from .job_template import FarmJob, amounts_of, in_order, tasks_of
from .task_session import TaskEnded, TaskFailed, TaskOutcome, TaskRefused, run_task
from .worker_engine import PACKAGE_ROOT

MIB = 1 << 20
_HOPELESS = (2, 3, 4, 5)
"""Exit codes that a second try would meet again: bad request, source, model, full disk."""

_MOST_EDGES = 64

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RayOptions:
    """How a job runs on Ray.

    address: of a running cluster ("auto" finds the one of this machine); None makes a local one.
    workers: of a local cluster. retries: of each task, also after its worker is lost.
    gpus_per_task: replaces what the template asks for where it asks for any; 0 for a farm without.
    check_memory: hold tasks to the template's amounts of memory; off where a local cluster could
        never give them.
    """

    address: str | None = None
    workers: int = 1
    retries: int = 3
    gpus_per_task: float | None = None
    check_memory: bool = True


@ray.remote  # type: ignore[untyped-decorator]
def _task(farm_job: FarmJob, step_name: str, index: int, *_before: object) -> TaskOutcome:
    job = farm_job.job()
    step = next(step for step in job.steps if step.name == step_name)
    values = next(task for number, task in enumerate(tasks_of(step)) if number == index)
    # The node's own process: whatever a worker starts must end with it.
    outcome = run_task(farm_job, job, step, values, os.getppid())
    if not outcome.succeeded:
        raise (TaskRefused if outcome.exit_code in _HOPELESS else TaskFailed)(outcome)
    return outcome


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _all_done(*_outcomes: TaskOutcome) -> None:
    """Stands for a finished step; Ray fails it with the first task that failed."""


@contextlib.contextmanager
def cluster(options: RayOptions) -> Iterator[Callable[[], list[str]]]:
    """Be connected to a cluster; a local one ends with the block.

    Yields what names the workers that have been lost since.

    Raises:
        TokenFlowError: code "bad_request", if there is none at the address.
    """
    # Where the workers find this package; a farm that has it elsewhere sets its own PYTHONPATH.
    environment = {"env_vars": {"PYTHONPATH": str(PACKAGE_ROOT)}}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    local: Cluster | None = None
    try:
        if options.address is None:
            local = local_cluster(options.workers)
        address = options.address if local is None else local.address
        try:
            ray.init(address=address, runtime_env=environment, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise TokenFlowError(
                "bad_request",
                f"There is no Ray cluster at {address}.",
                "Start one with `ray start --head`, or leave out --address for a local one.",
                str(error),
            ) from error
        yield lambda: [str(n["NodeName"]) for n in ray.nodes() if not n["Alive"]]
    finally:
        ray.shutdown()
        if local is not None:
            local.shutdown()


def local_cluster(workers: int) -> Cluster:
    """A cluster on this machine: a head that does no work, and workers of one task at a time.

    Raises:
        TokenFlowError: code "internal", if it does not start in the time that Ray allows.
    """
    # Ray gives its workers what others leave over, which on a busy machine is nothing.
    os.environ.setdefault("RAY_worker_niceness", "0")
    store = 100 * MIB
    args = {"num_cpus": 0, "object_store_memory": store, "include_dashboard": False}
    try:
        local = Cluster(initialize_head=True, head_node_args=args)
        for _ in range(workers):
            local.add_node(num_cpus=1, num_gpus=1, object_store_memory=store)
    except Exception as error:
        # Ray has no class of its own for it.
        raise TokenFlowError(
            "internal",
            "The local Ray cluster did not start in time.",
            "This machine may be overloaded: try again when it has less to do.",
            str(error),
        ) from error
    return local


def run_on_ray(farm_job: FarmJob, options: RayOptions, tell: Tell) -> list[TaskOutcome]:
    """Run every task of a job on the connected cluster; return how each ended.

    After a task has failed for good, what does not need it still runs; what does is left out.

    Raises:
        TokenFlowError: the template or its parameters will not do; `Cancelled` after Ctrl-C, once
            every task has been given its notice.
    """
    job = farm_job.job()
    sent = ray.put(farm_job)
    steps: dict[str, list[Any]] = {}
    pending: dict[Any, str] = {}
    for step, before in in_order(job):
        _require_possible(step, options)
        earlier = [ref for name in before for ref in steps[name]]
        task = _task.options(**_resources(step, options))
        refs = [
            task.remote(sent, str(step.name), index, *earlier)
            for index, _values in enumerate(tasks_of(step))
        ]
        pending |= dict.fromkeys(refs, str(step.name))
        # Each task knows each before it, until that would be a million edges.
        steps[str(step.name)] = refs if len(refs) <= _MOST_EDGES else [_all_done.remote(*refs)]
    return _collect(job, pending, tell)


def _collect(job: Job, pending: dict[Any, str], tell: Tell) -> list[TaskOutcome]:
    totals: dict[str, int] = {}
    for name in pending.values():
        totals[name] = totals.get(name, 0) + 1
    done = dict.fromkeys(totals, 0)
    outcomes: list[TaskOutcome] = []
    left = list(pending)
    try:
        while left:
            ready, left = ray.wait(left, num_returns=1)
            for ref in ready:
                name = pending[ref]
                done[name] += 1
                outcome = _outcome(name, ref)
                outcomes.append(outcome)
                where = "" if outcome.succeeded else f" failed: {outcome.message}"
                tell(f"{name} {done[name]}/{totals[name]}{where}")
    except KeyboardInterrupt:
        for ref in left:
            ray.cancel(ref, force=False)
        ray.wait(left, num_returns=len(left), timeout=120)
        raise Cancelled from None
    return outcomes


def _outcome(step: str, ref: Any) -> TaskOutcome:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        cause = error.cause
        failed = cause.outcome if isinstance(cause, TaskEnded) else None
        if failed is not None and failed.step == step:
            return failed
        message = f"not run: {cause}" if failed is not None else str(cause or error)
    except RayError as error:
        message = f"{type(error).__name__}: {error}"
    now = time.time()
    return TaskOutcome(step, {}, False, None, message[:500], "", 0, now, now)


def _resources(step: Step, options: RayOptions) -> dict[str, Any]:
    """Host requirements as Ray's resources; what Ray has no word for is a resource of that name."""
    found: dict[str, Any] = {
        "num_cpus": 1,
        "max_retries": options.retries,
        "retry_exceptions": [TaskFailed],
    }
    resources: dict[str, float] = {}
    for name, least in amounts_of(step).items():
        if name == "amount.worker.vcpu":
            found["num_cpus"] = least
        elif name == "amount.worker.gpu":
            found["num_gpus"] = least if options.gpus_per_task is None else options.gpus_per_task
        elif name == "amount.worker.memory":
            if options.check_memory and options.address is not None:
                found["memory"] = int(least) * MIB
        elif name.startswith("amount.") and not name.startswith("amount.worker."):
            resources[name] = least
    return found | ({"resources": resources} if resources else {})


def _require_possible(step: Step, options: RayOptions) -> None:
    """A task that no worker can ever take would wait for ever.

    Raises:
        TokenFlowError: code "bad_request".
    """
    wanted = _resources(step, options)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = {"CPU": wanted["num_cpus"], "GPU": wanted.get("num_gpus", 0)}
    asked |= {"memory": wanted.get("memory", 0), **wanted.get("resources", {})}
    if any(all(node.get(k, 0) >= v for k, v in asked.items()) for node in nodes):
        return
    spoken = ", ".join(f"{v:g} {k}" for k, v in asked.items() if v)
    raise TokenFlowError(
        "bad_request",
        f"No worker of this cluster has what the step {step.name} needs: {spoken}.",
        "Add one, or lower it with --gpus-per-task or in the template.",
    )
