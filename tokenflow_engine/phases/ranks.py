"""Several processes at one edit: each does its share of the chunks, the first keeps the results.

Every process has the whole model, on its own device where there are several. Inversion and
correspondences are made in chunks that know nothing of each other. In a denoising step each process
runs the keyframe pass itself: a broadcast of its tokens would make the others wait just as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from ..client.errors import TokenFlowError

Parts = tuple[Tensor, ...]
Make = Callable[[], Parts]
Received = Callable[[], None]

PATIENCE = timedelta(hours=6)
"""How long a process waits for another one's chunk; a process that has ended is noticed at once."""

DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.uint8, torch.bool),
)


class Ranks(Protocol):
    """The processes of an edit.

    rank: this one's number. first: whether it keeps the results. count: of processes.
    """

    rank: int
    first: bool
    count: int

    def collect(self, number: int, make: Make, received: Received) -> Parts:
        """Chunk `number`'s tensors, for the first process; nothing, for the others.

        make: called in the process that the chunk falls to. received: called in the first process
        after it got a chunk that another one has made.
        """

    def owns(self, number: int) -> bool:
        """Whether a chunk falls to this process."""

    def share(self, number: int, rows: Tensor) -> Tensor:
        """Chunk `number`'s tensor in every process; `rows` counts where the chunk fell to."""

    def agree(self, value: int) -> int:
        """The first process's value, once every process has come here."""


class Alone:
    """One process does everything."""

    rank = 0
    first = True
    count = 1

    def collect(self, number: int, make: Make, received: Received) -> Parts:
        return make()

    def owns(self, number: int) -> bool:
        return True

    def share(self, number: int, rows: Tensor) -> Tensor:
        return rows

    def agree(self, value: int) -> int:
        return value


class Gloo:
    """One of several processes, connected by torch.distributed's gloo, on this machine.

    meeting: a file that does not exist yet and that all of them name.

    Raises:
        TokenFlowError: code "internal", from any call, when another process has ended.
    """

    def __init__(self, rank: int, count: int, meeting: Path) -> None:
        self.rank, self.count = rank, count
        self.first = rank == 0
        self._sent: list[tuple[dist.Work | None, Tensor]] = []
        dist.init_process_group(
            "gloo",
            init_method=meeting.absolute().as_uri(),
            rank=rank,
            world_size=count,
            timeout=PATIENCE,
        )

    def owns(self, number: int) -> bool:
        return number % self.count == self.rank

    def collect(self, number: int, make: Make, received: Received) -> Parts:
        owner = number % self.count
        if owner == self.rank:
            parts = make()
            if self.first:
                return parts
            with _explained():
                self._send(parts)
            return ()
        if not self.first:
            return ()
        with _explained():
            parts = self._receive(owner)
        received()
        return parts

    def share(self, number: int, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        with _explained():
            dist.broadcast(rows, number % self.count)
        return rows

    def agree(self, value: int) -> int:
        told = torch.tensor([value])
        with _explained():
            dist.broadcast(told, 0)
        return int(told)

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()

    def _send(self, parts: Parts) -> None:
        # The chunk before has long been taken: only its buffers had to live until now.
        for work, _ in self._sent:
            if work is not None:
                work.wait()
        self._sent = []
        for tensor in (torch.tensor([len(parts)]), *(t for part in parts for t in _packed(part))):
            self._sent.append((dist.isend(tensor, 0), tensor))

    def _receive(self, owner: int) -> Parts:
        count = torch.zeros(1, dtype=torch.int64)
        dist.recv(count, owner)
        parts = []
        for _ in range(int(count)):
            layout = torch.zeros(LAYOUT, dtype=torch.int64)
            dist.recv(layout, owner)
            kind, dimensions, *shape = layout.tolist()
            data = torch.empty(shape[:dimensions], dtype=DTYPES[kind])
            dist.recv(data, owner)
            parts.append(data)
        return tuple(parts)


LAYOUT = 8
"""Numbers that go ahead of a tensor: its dtype's place in `DTYPES`, its dimensions, its shape."""


def _packed(part: Tensor) -> tuple[Tensor, Tensor]:
    data = part.detach().cpu().contiguous()
    numbers = [DTYPES.index(data.dtype), data.dim(), *data.shape]
    return torch.tensor(numbers + [0] * (LAYOUT - len(numbers))), data


@contextmanager
def _explained() -> Iterator[None]:
    """Turns gloo's error about a closed connection into one sentence."""
    try:
        yield
    except RuntimeError as error:
        raise TokenFlowError(
            "internal",
            "One of the processes that share this edit has ended.",
            "Try again with fewer processes: each one holds the whole model in memory.",
            str(error),
        ) from error
