"""Which parts of a model lie on the device: all, or one at a time where the device is small.

diffusers has two ways of its own. `enable_model_cpu_offload` belongs to its pipelines, which are
not used here, and asks for accelerate, a package that we do without. `enable_group_offload` copies
a part's layers at every call, for parts that do not fit whole: each of ours does, and an edit makes
thousands of UNet calls before another part's turn comes. So a part is moved by `Module.to`, when it
is called.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

LARGEST_SHARE = 0.5
"""Of a device's free memory, what the weights may take at most if all are to stay. The other half
is for the work: in half precision Stable Diffusion 1.5 has 2.3 GB of weights, and an edit of
512x512 pixels holds about as much besides, by the count in `client.needs`."""

HOST = torch.device("cpu")

Move = Callable[[nn.Module, torch.device], None]


def all_stay(free: int, weights: Mapping[str, int]) -> bool:
    """Whether a device with so many free bytes holds all parts, of so many bytes each, at once."""
    return sum(weights.values()) <= LARGEST_SHARE * free


def free_bytes(device: torch.device) -> int | None:
    """What a call may still take of a device; None for a CPU and for Metal, which shares its memory
    with the CPU, so that moving anything away would free nothing."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def weight_bytes(part: nn.Module) -> int:
    """Bytes of a part's parameters and buffers."""
    return sum(x.numel() * x.element_size() for x in (*part.parameters(), *part.buffers()))


def move(part: nn.Module, device: torch.device) -> None:
    """Move a part's parameters and buffers, bit for bit."""
    # Within inference mode they would become tensors that can't be used outside of it.
    with torch.inference_mode(False), torch.no_grad():
        part.to(device)


class OneAtATime:
    """Keeps one part on a device, the others on the host: a part comes when it is called.

    resident: the part that is on the device; None before the first call, and after a move that
        failed. moves: parts that have come so far.
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], device: torch.device, moving: Move = move
    ) -> None:
        self.resident: str | None = None
        self.moves = 0
        self._parts = dict(parts)
        self._device = device
        self._move = moving
        for name, part in parts.items():
            for entry in _entries(part):
                entry.register_forward_pre_hook(partial(self._called, name))

    def _called(self, name: str, module: nn.Module, inputs: Any) -> None:
        self.bring(name)

    def bring(self, name: str) -> None:
        """Have a part on the device, and it alone.

        Raises:
            torch.OutOfMemoryError: it does not fit; a later call tries again from wherever its
                weights are then.
        """
        if name == self.resident:
            return
        self.resident = None
        for other, part in self._parts.items():
            if other != name:
                self._move(part, HOST)
        if self._device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
        self._move(self._parts[name], self._device)
        self.resident = name
        self.moves += 1


def _entries(part: Any) -> list[nn.Module]:
    """The modules whose calls begin a call of a part: an autoencoder is entered by its halves."""
    halves = [getattr(part, name, None) for name in ("encoder", "post_quant_conv", "decoder")]
    if hasattr(part, "post_quant_conv"):
        return [half for half in halves if half is not None]
    return [part]


def settle(parts: Mapping[str, nn.Module], device: torch.device) -> OneAtATime | None:
    """Put all parts on a device, and return None; or what moves them, where they are too large."""
    free = free_bytes(device)
    if free is None or all_stay(free, {name: weight_bytes(part) for name, part in parts.items()}):
        for part in parts.values():
            part.to(device)
        return None
    return OneAtATime(parts, device)
