"""Floating-point operations of a block of code, counted as torch carries them out.

One multiply-add counts as two. Only matrix products, convolutions and attention are counted: all
else is less than one per cent of a UNet's operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_operations(work: Callable[[], Any]) -> int:
    """Operations that `work` takes. Counting slows it down: never time it at once."""
    aten = torch.ops.aten
    own = {aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        work()
    return int(counter.get_total_flops())


def _attention(
    queries: torch.Size, keys: torch.Size, values: torch.Size, *_: Any, **__: Any
) -> int:
    """torch counts its kernels for CUDA, not the one for the CPU. Shapes (B, heads, S, C)."""
    batch, heads, count, channels = queries
    return 2 * batch * heads * count * keys[-2] * (channels + values[-1])
