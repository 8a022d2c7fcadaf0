"""The UNet's blocks without attention, compiled.

TokenFlow says anew at each call what a self-attention returns, and looks into one decoder layer
(`tokenflow.wiring`); a compiler would break off at each of these places, and compile again for each
kind of call. The blocks beside them are the same in every call, and it is they that spend a GPU's
time on its memory instead of its arithmetic: normalisation, activations and sums of residual
blocks, and the gates of feed-forward blocks. So those are compiled, each by itself
(https://docs.pytorch.org/docs/stable/generated/torch.compile.html).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

KINDS = (ResnetBlock2D, FeedForward)
KERNELS = "TORCHINDUCTOR_CACHE_DIR"
"""Variable that names the folder in which the compiler keeps what it has made."""

RECOMPILE_LIMIT = 256
"""Blocks of one kind share their code, and each of another size counts as compiled again."""


@contextmanager
def compiled_blocks(
    unet: Any, kernels: Path, apart: Collection[nn.Module] = ()
) -> Iterator[tuple[nn.Module, ...]]:
    """Have a UNet's blocks compiled, and leave the UNet exactly as it was at the end.

    Each is compiled when it is called first, for any batch size: once for calls of one frame, which
    compilers treat as another case, and once or twice for those of more. Yields the compiled ones.

    kernels: folder for compiled code, which later processes find there. apart: blocks to leave.
    """
    own = {
        name: block
        for name, block in unet.named_modules()
        if isinstance(block, KINDS) and block not in apart
    }
    compiled = {name: _compiled(block) for name, block in own.items()}
    before = os.environ.get(KERNELS)
    os.environ[KERNELS] = str(kernels)
    try:
        for name, block in compiled.items():
            unet.set_submodule(name, block)
        yield tuple(compiled.values())
    finally:
        for name, block in own.items():
            unet.set_submodule(name, block)
        if before is None:
            os.environ.pop(KERNELS, None)
        else:
            os.environ[KERNELS] = before


def _compiled(block: nn.Module) -> nn.Module:
    # The types that come with torch 2.13 do not know all of its options.
    compile_any: Any = torch.compile
    compiled = compile_any(block, recompile_limit=RECOMPILE_LIMIT)
    compiled.register_forward_pre_hook(_one_case)
    assert isinstance(compiled, nn.Module)
    return compiled


def _one_case(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook: what would be cases of their own for the compiler is made one, or said to
    be one: another order of the same numbers in memory, and another batch size."""
    first = next(x for x in module.parameters() if x.dim() > 1)
    last = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
    given = tuple(_in_order(x, last) if isinstance(x, Tensor) else x for x in inputs)
    for x in given:
        if isinstance(x, Tensor) and len(x) > 1:
            torch._dynamo.maybe_mark_dynamic(x, 0)
    return given


def _in_order(x: Tensor, channels_last: bool) -> Tensor:
    pixels = x.dim() == 4 and channels_last
    return x.contiguous(memory_format=torch.channels_last if pixels else torch.contiguous_format)
