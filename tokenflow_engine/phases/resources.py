"""How much memory a run took at its highest."""

from __future__ import annotations

import sys
from collections.abc import Callable

import psutil
import torch

MIB = 2**20


def reset_peak(device: torch.device) -> None:
    """Start counting the device's peak anew; the host's can't be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def finish(device: torch.device) -> None:
    """Wait until a device has done all that it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_beside(device: torch.device, work: Callable[[], None]) -> int:
    """Bytes of a CUDA device that some work takes at its highest, beside what was there before.

    The device's peak is counted anew from here on.
    """
    before = torch.cuda.memory_allocated(device)
    reset_peak(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """MiB: "host" is the process's largest resident set so far, "device" the allocator's peak."""
    peak = {"host": round(_host_peak_bytes() / MIB, 1)}
    if device.type == "cuda":
        peak["device"] = round(torch.cuda.max_memory_allocated(device) / MIB, 1)
    return peak


def _host_peak_bytes() -> int:
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
