"""Time and memory that a block of code takes."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil
import torch

from ..phases.resources import MIB, reset_peak

SAMPLING_SECONDS = 0.01


class Measure:
    """seconds: wall-clock time of the block. peak_memory_mb: MiB at its highest within the block:
    the allocator's on a CUDA device, else the process's resident set, sampled."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ended = threading.Event()
        self._process = psutil.Process()
        self._highest = 0
        self.seconds = 0.0
        self.peak_memory_mb = 0.0

    def __enter__(self) -> Measure:
        reset_peak(self._device)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds = time.perf_counter() - self._started
        self._ended.set()
        self._thread.join()
        peak = self._highest
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
        self.peak_memory_mb = peak / MIB

    def _watch(self) -> None:
        while True:
            self._highest = max(self._highest, self._process.memory_info().rss)
            if self._ended.wait(SAMPLING_SECONDS):
                return
