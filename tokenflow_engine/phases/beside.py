"""Work beside the model's: the next rows are read and the last results written meanwhile, and
frames are worked on by all of the processor's cores.

On a fast GPU a chunk's UNet call takes tens of milliseconds, and reading its rows, or compressing
its pictures, as long again: one after the other, the GPU would stand idle for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Item = TypeVar("Item")

WriteBehind = Callable[[Callable[[], None]], None]
"""Takes what writes something, see `writing_behind`."""


class ReadAhead(Generic[Key, Value]):
    """Reads one value in a thread of its own while the one before is in use.

    read: makes a key's value. Called in the thread for keys that come as expected, and on the spot
        for any other; what it raises is raised by `take`.
    """

    def __init__(self, read: Callable[[Key], Value]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._coming: Iterator[Key] = iter(())
        self._begun: tuple[Key, Future[Value]] | None = None

    def expect(self, keys: Iterable[Key]) -> None:
        """Say what is going to be taken, in order, and begin to read the first of it."""
        self._coming = iter(keys)
        self._begin()

    def take(self, key: Key) -> Value:
        """The key's value, once it is read."""
        if self._begun is None or self._begun[0] != key:
            return self._read(key)
        value = self._begun[1].result()
        self._begin()
        return value

    def _begin(self) -> None:
        self._begun = None
        for key in self._coming:
            self._begun = key, self._thread.submit(self._read, key)
            break


def by_all_cores(work: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[Value]:
    """What `work` returns for each item, in their order; some items ahead are worked on at once.

    As many threads as torch uses for its own work, and as many items ahead in memory.
    """
    at_once = torch.get_num_threads()
    begun: deque[Future[Value]] = deque()
    with ThreadPoolExecutor(at_once, "cores") as threads:
        for item in items:
            begun.append(threads.submit(work, item))
            if len(begun) > at_once:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


@contextmanager
def writing_behind() -> Iterator[WriteBehind]:
    """A function that does one write at a time in a thread of its own while the next is computed.

    It waits for the write before, so that no more than one waits in memory. Everything is written
    when the context is left, or, where it is left by an error, what was begun. An error of a write
    is raised by the next one, or on leaving.
    """
    last: Future[None] | None = None

    def write(act: Callable[[], None]) -> None:
        nonlocal last
        before, last = last, None
        if before is not None:
            before.result()
        last = thread.submit(act)

    with ThreadPoolExecutor(1, "write-behind") as thread:
        yield write
    if last is not None:
        last.result()
