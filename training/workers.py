"""Worker processes of one thread each, joined by gloo, that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GLOO_SOCKET_IFNAME": "lo",
    # Fresh pages for every activation cost more than the arithmetic on small convolutions.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "67108864",
}


@dataclass
class Worker:
    """One of `count` workers: its rank, and when it has to stop."""

    rank: int
    count: int
    deadline: float
    """`time.monotonic()` at which the work pauses."""
    parent: int = field(default_factory=os.getppid)
    is_stopped: bool = False

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def should_stop(self) -> bool:
        """Whether time is up, the parent is gone, or a signal came; this worker's own view."""
        return self.is_stopped or time.monotonic() > self.deadline or os.getppid() != self.parent

    def average_gradients(self, parameters: Sequence[torch.Tensor]) -> bool:
        """Averages the gradients over all workers; returns whether any of them should stop.

        The question travels with the gradients, so that all workers stop at the same step.
        """
        stop = self.should_stop()
        if self.count == 1:
            return stop
        grads = [
            parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            for parameter in parameters
        ]
        flat = torch.cat([grad.reshape(-1) for grad in grads] + [torch.tensor([float(stop)])])
        distributed.all_reduce(flat)
        flat /= self.count
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            if parameter.grad is not None:
                parameter.grad.copy_(flat[start:end].view_as(parameter))
            start = end
        return bool(flat[-1] > 0)


def _enter(
    work: Callable[..., None], rank: int, count: int, deadline: float, meeting: str, args: Any
) -> None:
    torch.set_num_threads(1)
    worker = Worker(rank, count, deadline)

    def stop(*_: Any) -> None:
        worker.is_stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if count > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=count
        )
    work(worker, *args)
    if count > 1:
        distributed.barrier()
        distributed.destroy_process_group()


def run_workers(work: Callable[..., None], *args: Any, count: int, hours: float) -> None:
    """Runs `work(worker, *args)` in `count` processes and waits.

    Raises RuntimeError when a worker fails; the others are then ended. A signal to end lets the
    workers keep what they have, and then ends this process, so that no later stage begins.
    """
    os.environ.update(ENVIRONMENT)
    deadline = time.monotonic() + hours * 3600
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        processes = [
            context.Process(target=_enter, args=(work, rank, count, deadline, meeting, args))
            for rank in range(count)
        ]
        for process in processes:
            process.start()
        _wait(processes)


def _wait(processes: Sequence[Any]) -> None:
    received: list[int] = []

    def forward(number: int, *_: Any) -> None:
        received.append(number)
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while any(process.is_alive() for process in processes):
            if any(process.exitcode not in (None, 0) for process in processes):
                for process in processes:
                    process.terminate()
                    process.join(30)
                    process.kill()
                break
            time.sleep(0.2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    failed = [process.exitcode for process in processes if process.exitcode != 0]
    if failed:
        raise RuntimeError(f"A training worker ended with exit code {failed[0]}.")
    if received:
        raise SystemExit(128 + received[0])
