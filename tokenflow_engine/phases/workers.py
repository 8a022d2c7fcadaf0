"""The other processes of an edit that several share."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from ..client.edit_request import EditRequest
from ..client.errors import TokenFlowError
from .ranks import Alone, Gloo, Ranks

Work = Callable[[EditRequest, Ranks], None]

ENDING_SECONDS = 5.0
"""What a process gets to end by itself before it is ended."""


@contextmanager
def ranks_of(request: EditRequest, work: Work) -> Iterator[Ranks]:
    """This process as the first of `request.processes`; the others run `work` meanwhile.

    work: a function of a module, called as work(request, ranks) in each of the other processes.
    They share this one's processor cores evenly, and end with the block, however it ends.
    """
    if request.processes == 1:
        yield Alone()
        return
    count, threads = request.processes, torch.get_num_threads()
    context = multiprocessing.get_context("spawn")
    each = max(1, threads // count)
    with tempfile.TemporaryDirectory(prefix="tokenflow-ranks-") as folder:
        meeting = Path(folder) / "meeting"
        others = [
            context.Process(
                target=_serve, args=(rank, count, str(meeting), each, work, request.to_json())
            )
            for rank in range(1, count)
        ]
        for process in others:
            process.daemon = True
            process.start()
        torch.set_num_threads(each)
        try:
            _await(others, [_alive(meeting, rank) for rank in range(1, count)])
            ranks = Gloo(0, count, meeting)
            try:
                yield ranks
            finally:
                ranks.close()
        finally:
            torch.set_num_threads(threads)
            for process in others:
                process.join(ENDING_SECONDS)
                if process.is_alive():
                    process.kill()
                    process.join()


def _alive(meeting: Path, rank: int) -> Path:
    return meeting.with_name(f"alive{rank}")


def _await(processes: Sequence[BaseProcess], files: Sequence[Path]) -> None:
    """Wait until each process has written its file: gloo would wait for hours for one that can't
    start."""
    while not all(file.exists() for file in files):
        if any(process.exitcode is not None for process in processes):
            raise TokenFlowError(
                "internal",
                "A process that was to share this edit could not start.",
                "Edit with one process.",
            )
        time.sleep(0.05)


def _serve(
    rank: int, count: int, meeting: str, threads: int, work: Work, request: dict[str, Any]
) -> None:
    torch.set_num_threads(threads)
    _alive(Path(meeting), rank).touch()
    ranks = Gloo(rank, count, Path(meeting))
    work(EditRequest.from_json(request), ranks)
    ranks.close()
