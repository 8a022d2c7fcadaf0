"""What self-attention does in each pass of TokenFlow (section 4).

`BasicTransformerBlock` hands `norm1(x)` to `attn1` and adds what comes back, so that an attention
processor sees exactly the tokens that TokenFlow matches and the ones it propagates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .correspondence import nearest_neighbours, unit_tokens
from .propagation import SIDES, Blend, propagate
from .windows import Window


class UNetPass(Protocol):
    """One kind of UNet call: what every self-attention returns, and the injected features."""

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        """Self-attention of a layer. tokens: (branches * n, S, C); returns the same shape."""

    def features(self, output: Tensor) -> Tensor:
        """Features (branches * n, C, h, w) that a decoder layer goes on with."""


def attention(attn: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Multi-head attention of projected tokens (B, Q, C), (B, S, C), (B, S, C); returns (B, Q, C).

    attn: a diffusers `Attention`; its output projection is applied.
    """

    def heads(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], attn.heads, -1).transpose(1, 2)

    out = F.scaled_dot_product_attention(
        heads(queries), heads(keys), heads(values), scale=attn.scale
    )
    return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))


def extended_attention(
    attn: Any, queries: Tensor, keys: Tensor, values: Tensor, branches: int
) -> Tensor:
    """Every frame of a branch attends to the keys and values of all its frames (eq. 2).

    queries: (branches * n, S, C); keys, values: (branches * m, S, C). A branch's frames are laid
    end to end as one sequence: all queries share keys and values, without a copy for each frame.
    """
    queries, keys, values = (x.reshape(branches, -1, x.shape[-1]) for x in (queries, keys, values))
    return attention(attn, queries, keys, values)


def forget_first(kept: dict[str, Tensor], count: int, dim: int) -> None:
    """Drop each layer's first `count` keyframes along a dimension, and free their memory."""
    for layer, tokens in kept.items():
        kept[layer] = tokens.narrow(dim, count, tokens.shape[dim] - count).clone()


@dataclass
class SourceKeyframes:
    """The source's keyframes, on their own: keeps the tokens that others are matched with.

    Several calls may share one pass; their keyframes are kept in the order of the calls.
    tokens, outputs: for each layer (K, S, C): unit tokens before, and tokens after self-attention.
    first: place of the first of them in the step's list of keyframes.
    """

    tokens: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    first: int = 0

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        output = _plain(attn, tokens)
        for kept, new in ((self.tokens, unit_tokens(tokens)), (self.outputs, output)):
            kept[layer] = torch.cat([kept[layer], new]) if layer in kept else new
        return output

    def features(self, output: Tensor) -> Tensor:
        return output

    def forget_before(self, slot: int) -> None:
        """Free the keyframes before a place in the step's list."""
        if slot > self.first:
            for kept in (self.tokens, self.outputs):
                forget_first(kept, slot - self.first, dim=0)
            self.first = slot


@dataclass
class SourceFrames:
    """Any frames of the source: finds their correspondence fields, keeps their features.

    propagates: whether the frames' own self-attention is propagated from the keyframes as well.
    fields: for each layer int64 (n, 2, S). kept_features: (n, C, h, w).
    """

    keyframes: SourceKeyframes
    blends: Sequence[Blend]
    propagates: bool
    fields: dict[str, Tensor] = field(default_factory=dict)
    kept_features: Tensor | None = None

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        self.fields[layer] = match(unit_tokens(tokens), self.keyframes.tokens[layer], self.blends)
        if not self.propagates:
            return _plain(attn, tokens)
        outputs = self.keyframes.outputs[layer][None]
        return propagate(outputs, self.fields[layer], self.blends)[0]

    def features(self, output: Tensor) -> Tensor:
        self.kept_features = output
        return output


@dataclass
class EditedFrames:
    """Frames of the edit under Plug-and-Play; each attends to itself alone.

    The batch holds, in this order, the source branch where `source` is set, and the edit's
    `branches` (unconditional and conditional, or conditional alone).
    inject_attention, inject_features: Plug-and-Play's injections in this step, out of the source.
    injected_layers: the layers whose queries and keys are injected.
    """

    branches: int
    source: bool
    inject_attention: bool
    inject_features: bool
    injected_layers: frozenset[str]

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        count = len(tokens) // (self.branches + self.source)
        values = attn.to_v(tokens)
        if self.inject_attention and layer in self.injected_layers:
            queries, keys = (
                project(tokens[:count]).repeat(self.branches + 1, 1, 1)
                for project in (attn.to_q, attn.to_k)
            )
        else:
            queries, keys = attn.to_q(tokens), attn.to_k(tokens)
        edited = slice(count if self.source else 0, None)
        output = self.attend_edited(layer, attn, queries[edited], keys[edited], values[edited])
        if not self.source:
            return output
        own = slice(0, count)
        return torch.cat([attention(attn, queries[own], keys[own], values[own]), output])

    def attend_edited(
        self, layer: str, attn: Any, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Self-attention of the edit's branches, all of shape (branches * n, S, C)."""
        return attention(attn, queries, keys, values)

    def features(self, output: Tensor) -> Tensor:
        if not self.inject_features:
            return output
        source = output[: len(output) // (self.branches + 1)]
        return source.repeat(self.branches + 1, 1, 1, 1)


@dataclass
class EditedKeyframes(EditedFrames):
    """The keyframes' joint edit with extended attention; its self-attention is what is propagated.

    Several calls may share one pass, a window in each; the windows come in order.
    outputs: for each layer (branches, K, S, C). first: place of the first of them in the step's
        list of keyframes.
    window: the keyframes of this call; None for a pass of one call.
    anchors: for each layer the keys and values, (branches, S, C), of the anchors by their places.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    first: int = 0
    window: Window | None = None
    anchors: dict[str, dict[int, tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def attend_edited(
        self, layer: str, attn: Any, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        keys, values = self._with_anchors(layer, keys, values)
        joint = extended_attention(attn, queries, keys, values, self.branches)
        return self.keep(layer, joint.reshape(queries.shape[0], -1, joint.shape[-1]))

    def keep(self, layer: str, output: Tensor) -> Tensor:
        """Remember what is to be propagated, (branches * K, S, C), and return it."""
        new = output.reshape(self.branches, -1, *output.shape[1:])
        if self.window is not None:
            new = blended(self.outputs.get(layer), new, self.window, self.first, dim=1)
        self.outputs[layer] = new
        return output

    def forget_before(self, slot: int) -> None:
        """Free the keyframes before a place in the step's list."""
        if slot > self.first:
            forget_first(self.outputs, slot - self.first, dim=1)
            self.first = slot

    def _with_anchors(self, layer: str, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.window is None or not self.window.anchors:
            return keys, values
        kept = [self.anchors[layer][slot] for slot in self.window.anchors]
        before = [torch.stack(side, dim=1) for side in zip(*kept, strict=True)]
        own = [x.reshape(self.branches, -1, *x.shape[1:]) for x in (keys, values)]
        both = [torch.cat(parts, dim=1).flatten(0, 1) for parts in zip(before, own, strict=True)]
        return both[0], both[1]


@dataclass
class Anchors(EditedKeyframes):
    """The anchors' joint edit, whose keys and values the windows attend to."""

    def attend_edited(
        self, layer: str, attn: Any, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        assert self.window is not None
        own = [x.reshape(self.branches, -1, *x.shape[1:]).unbind(1) for x in (keys, values)]
        self.anchors[layer] = dict(zip(self.window.slots, zip(*own, strict=True), strict=True))
        return extended_attention(attn, queries, keys, values, self.branches).reshape_as(queries)


def blended(kept: Tensor | None, new: Tensor, window: Window, first: int, dim: int = 0) -> Tensor:
    """A window's share added to what earlier windows gave their keyframes, along a dimension.

    kept: of keyframes from `first` on. new: of the window's. Returns those of both.
    """
    if kept is None and set(window.weights) == {1.0}:
        return new
    shape = [-1 if d == dim else 1 for d in range(new.dim())]
    new = new * torch.tensor(window.weights, device=new.device, dtype=new.dtype).reshape(shape)
    if kept is None:
        return new
    common = first + kept.shape[dim] - window.slots[0]
    alone = kept.shape[dim] - common
    return torch.cat(
        [
            kept.narrow(dim, 0, alone),
            kept.narrow(dim, alone, common) + new.narrow(dim, 0, common),
            new.narrow(dim, common, new.shape[dim] - common),
        ],
        dim,
    )


@dataclass
class PropagatedFrames:
    """Other frames of the edit: no self-attention, the keyframes' tokens along the fields instead.

    The batch holds the edit's branches only; the source was seen when the fields were found.
    fields: for each layer int64 (n, 2, S). source_features: (n, C, h, w) to inject, or None.
    """

    keyframes: EditedKeyframes
    blends: Sequence[Blend]
    fields: dict[str, Tensor]
    source_features: Tensor | None

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        outputs = self.keyframes.outputs[layer]
        return propagate(outputs, self.fields[layer], self.blends).flatten(0, 1)

    def features(self, output: Tensor) -> Tensor:
        if self.source_features is None:
            return output
        return self.source_features.repeat(self.keyframes.branches, 1, 1, 1)


def match(queries: Tensor, keyframes: Tensor, blends: Sequence[Blend]) -> Tensor:
    """Correspondence fields int64 (n, 2, S) of frames with their neighbouring keyframes.

    queries: (n, S, C), keyframes: (K, S, C), both of unit length. A side with weight 0 is not
    searched and left at 0.
    """
    fields = queries.new_zeros((len(queries), SIDES, queries.shape[1]), dtype=torch.int64)
    for side in range(SIDES):
        frames = [i for i, blend in enumerate(blends) if blend.weights[side]]
        if frames:
            slots = [blends[i].slots[side] for i in frames]
            fields[frames, side] = nearest_neighbours(
                _rows(queries, frames), _rows(keyframes, slots)
            )
    return fields


def _rows(tokens: Tensor, rows: Sequence[int]) -> Tensor:
    """Rows of a tensor; a view where all are wanted in order or all are the same."""
    if list(rows) == list(range(len(tokens))):
        return tokens
    if len(set(rows)) == 1:
        return tokens[rows[0]].expand(len(rows), -1, -1)
    return tokens[list(rows)]


def _plain(attn: Any, tokens: Tensor) -> Tensor:
    return attention(attn, attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens))
