"""What self-attention sees in the methods that TokenFlow is compared with.

All of them are Plug-and-Play edits (`EditedFrames`); they differ in the keys and values alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..tokenflow.attention import EditedFrames, EditedKeyframes, attention

KeysAndValues = tuple[Tensor, Tensor]


@dataclass
class FirstFrameAttention(EditedFrames):
    """Every frame attends to the clip's first one (Text2Video-Zero, arXiv:2303.13439, eq. 8).

    One pass serves a whole denoising step: its calls are given the clip's frames in order, so that
    the first call holds the first frame.
    """

    first: dict[str, KeysAndValues] = field(default_factory=dict)

    def attend_edited(
        self, layer: str, attn: Any, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        by_frame = [x.reshape(self.branches, -1, *x.shape[1:]) for x in (keys, values)]
        first = self.first.setdefault(layer, (by_frame[0][:, :1], by_frame[1][:, :1]))
        seen = [x.expand_as(y).flatten(0, 1) for x, y in zip(first, by_frame, strict=True)]
        return attention(attn, queries, seen[0], seen[1])


@dataclass
class SparseCausalAttention(EditedFrames):
    """Every frame attends to the clip's first frame and to the one before it (Tune-A-Video,
    arXiv:2212.11565, section 4.1). The first frame attends to itself twice.

    One pass serves a whole denoising step, as in `FirstFrameAttention`.
    """

    first: dict[str, KeysAndValues] = field(default_factory=dict)
    last: dict[str, KeysAndValues] = field(default_factory=dict)

    def attend_edited(
        self, layer: str, attn: Any, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        by_frame = [x.reshape(self.branches, -1, *x.shape[1:]) for x in (keys, values)]
        beginning = (by_frame[0][:, :1], by_frame[1][:, :1])
        first = self.first.setdefault(layer, beginning)
        previous = self.last.get(layer, beginning)
        seen = [
            torch.cat(
                [one.expand_as(every), torch.cat([before, every[:, :-1]], dim=1)], dim=2
            ).flatten(0, 1)
            for one, before, every in zip(first, previous, by_frame, strict=True)
        ]
        self.last[layer] = (by_frame[0][:, -1:], by_frame[1][:, -1:])
        return attention(attn, queries, seen[0], seen[1])


class KeyframesAlone(EditedKeyframes):
    """Keyframes that attend to themselves alone and are propagated all the same."""

    def attend_edited(
        self, layer: str, attn: Any, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        return self.keep(layer, attention(attn, queries, keys, values))
