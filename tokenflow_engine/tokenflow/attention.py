"""What self-attention does in each pass of TokenFlow (section 4).

`BasicTransformerBlock` hands `norm1(x)` to `attn1` and adds what comes back, so that an attention
processor sees exactly the tokens that TokenFlow matches and the ones it propagates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .correspondence import nearest_neighbours, unit_tokens
from .propagation import SIDES, Blend, propagate
from .windows import Window

KeysAndValues = dict[str, tuple[Tensor, Tensor]]


class UNetPass(Protocol):
    """One kind of UNet call: what every self-attention returns, and the injected features."""

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        """Self-attention of a layer. tokens: (branches * n, S, C); returns the same shape."""

    @property
    def replaces_features(self) -> bool:
        """Whether `features` takes nothing from the output but its batch size."""

    def features(self, output: Tensor) -> Tensor:
        """Features (branches * n, C, h, w) that a decoder layer goes on with."""


def attention(attn: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Multi-head attention of projected tokens (B, Q, C), (B, S, C), (B, S, C); returns (B, Q, C).

    attn: a diffusers `Attention`; its output projection is applied. Where its processor has
    `query_rows`, so many queries are attended to at once.
    """

    def heads(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], attn.heads, -1).transpose(1, 2)

    keys, values = heads(keys), heads(values)
    rows = getattr(getattr(attn, "processor", None), "query_rows", None) or queries.shape[1]
    parts = [
        F.scaled_dot_product_attention(heads(part), keys, values, scale=attn.scale)
        for part in queries.split(rows, dim=1)
    ]
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
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


def every_second(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens (B, ceil(h / 2) * ceil(w / 2), C) of every second row and column of a grid (h, w).

    tokens: (B, h * w, C). For keys and values, which neighbours in a picture nearly share (ToDo:
    Token Downsampling, Smith et al. 2024, arXiv:2402.13573, section 3); lossy.
    """
    return tokens.unflatten(1, grid)[:, ::2, ::2].flatten(1, 2)


def forget_first(kept: dict[str, Tensor], count: int, dim: int) -> None:
    """Drop each layer's first `count` keyframes along a dimension, and free their memory."""
    for layer, tokens in kept.items():
        kept[layer] = tokens.narrow(dim, count, tokens.shape[dim] - count).clone()


class PassEnded(Exception):
    """A pass has seen all that it is about: the rest of the UNet would be for nothing."""


@dataclass
class SourcePass:
    """Frames of the source, for what a pass keeps of them.

    layers: the self-attentions that it is about. The call ends at the last of them, as soon as it
        has the features too, or at the UNet's end if None.
    kept_features: (n, C, h, w).
    """

    layers: frozenset[str] | None = field(default=None, kw_only=True)
    kept_features: Tensor | None = field(default=None, kw_only=True)

    @property
    def replaces_features(self) -> bool:
        return False

    def features(self, output: Tensor) -> Tensor:
        self.kept_features = output
        return output

    def end_after(self, seen: Set[str]) -> None:
        """Raises PassEnded, where these layers and the features are all."""
        if self.layers is not None and self.kept_features is not None and self.layers <= seen:
            raise PassEnded


@dataclass
class SourceKeyframes(SourcePass):
    """The source's keyframes, on their own: keeps the tokens that others are matched with.

    tokens, outputs: for each layer (K, S, C): unit tokens before, and tokens after self-attention;
        these not of a layer that the call has ended at.
    first: place of the first of them in the step's list of keyframes.
    """

    tokens: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    first: int = 0

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        self.tokens[layer] = unit_tokens(tokens)
        self.end_after(self.tokens.keys())
        output = self.outputs[layer] = _plain(attn, tokens)
        return output

    def add(self, following: SourceKeyframes) -> None:
        """Keep the keyframes of another call after the present ones."""
        for kept, new in ((self.tokens, following.tokens), (self.outputs, following.outputs)):
            for layer, tokens in new.items():
                kept[layer] = torch.cat([kept[layer], tokens]) if layer in kept else tokens

    def forget_before(self, slot: int) -> None:
        """Free the keyframes before a place in the step's list."""
        if slot > self.first:
            for kept in (self.tokens, self.outputs):
                forget_first(kept, slot - self.first, dim=0)
            self.first = slot


@dataclass
class SourceFrames(SourcePass):
    """Any frames of the source: finds their correspondence fields, keeps their features.

    propagates: whether the frames' own self-attention is propagated from the keyframes as well.
    fields: for each layer int64 (n, 2, S).
    """

    keyframes: SourceKeyframes
    blends: Sequence[Blend]
    propagates: bool
    fields: dict[str, Tensor] = field(default_factory=dict)

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        self.fields[layer] = match(unit_tokens(tokens), self.keyframes.tokens[layer], self.blends)
        self.end_after(self.fields.keys())
        if not self.propagates:
            return _plain(attn, tokens)
        outputs = self.keyframes.outputs[layer][None]
        return propagate(outputs, self.fields[layer], self.blends)[0]


@dataclass
class InjectionSource(SourcePass):
    """The source alone, where it is not in the batch: keeps what Plug-and-Play injects.

    kept: of the layers that it is about, queries and keys, (n, S, C) each.
    """

    kept: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        queries, keys = attn.to_q(tokens), attn.to_k(tokens)
        if self.layers and layer in self.layers:
            self.kept[layer] = queries, keys
            self.end_after(self.kept.keys())
        return attention(attn, queries, keys, attn.to_v(tokens))


@dataclass
class EditedFrames:
    """Frames of the edit under Plug-and-Play; each attends to itself alone.

    The batch holds, in this order, the source branch where `source` is set, and the edit's
    `branches` (unconditional and conditional, or conditional alone).
    inject_attention, inject_features: Plug-and-Play's injections in this step, out of the source.
    injected_layers: the layers whose queries and keys are injected.
    donor: what an earlier call has kept of the source, where the batch of this one lacks it.
    thinned: rows and columns (h, w) of the layers in which the edit's branches see `every_second`
        key and value; none are thinned out if None. The source is always seen whole.
    """

    branches: int
    source: bool
    inject_attention: bool
    inject_features: bool
    injected_layers: frozenset[str]
    donor: InjectionSource | None = field(default=None, kw_only=True)
    thinned: tuple[int, int] | None = field(default=None, kw_only=True)

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        count = len(tokens) // (self.branches + self.source)
        values = attn.to_v(tokens)
        injected = self.inject_attention and layer in self.injected_layers
        if injected and self.donor:
            queries, keys = (x.repeat(self.branches, 1, 1) for x in self.donor.kept[layer])
        elif injected:
            queries, keys = (
                project(tokens[:count]).repeat(self.branches + 1, 1, 1)
                for project in (attn.to_q, attn.to_k)
            )
        else:
            queries, keys = attn.to_q(tokens), attn.to_k(tokens)
        edited = slice(count if self.source else 0, None)
        seen = [x[edited] for x in (keys, values)]
        if self.thinned and tokens.shape[1] == math.prod(self.thinned):
            seen = [every_second(x, self.thinned) for x in seen]
        output = self.attend_edited(layer, attn, queries[edited], *seen)
        if not self.source:
            return output
        own = slice(0, count)
        return torch.cat([attention(attn, queries[own], keys[own], values[own]), output])

    def attend_edited(
        self, layer: str, attn: Any, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Self-attention of the edit's branches, all of shape (branches * n, S, C)."""
        return attention(attn, queries, keys, values)

    @property
    def replaces_features(self) -> bool:
        return self.inject_features and self.donor is not None

    def features(self, output: Tensor) -> Tensor:
        if not self.inject_features:
            return output
        if self.donor:
            assert self.donor.kept_features is not None
            return self.donor.kept_features.repeat(self.branches, 1, 1, 1)
        source = output[: len(output) // (self.branches + 1)]
        return source.repeat(self.branches + 1, 1, 1, 1)


@dataclass
class EditedKeyframes(EditedFrames):
    """The keyframes' joint edit with extended attention; its self-attention is what is propagated.

    outputs: for each layer (branches, K, S, C).
    context: for each layer keys and values, (branches, A, S, C), that are attended to as well.
    seen: for each layer the keyframes' own keys and values, (branches, K, S, C), where `sees`.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    context: KeysAndValues = field(default_factory=dict)
    sees: bool = False
    seen: KeysAndValues = field(default_factory=dict)

    def attend_edited(
        self, layer: str, attn: Any, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        if self.sees or self.context:
            own = [x.reshape(self.branches, -1, *x.shape[1:]) for x in (keys, values)]
            if self.sees:
                self.seen[layer] = own[0], own[1]
            if self.context:
                both = zip(self.context[layer], own, strict=True)
                keys, values = (torch.cat(parts, dim=1).flatten(0, 1) for parts in both)
        joint = extended_attention(attn, queries, keys, values, self.branches)
        return self.keep(layer, joint.reshape(queries.shape[0], -1, joint.shape[-1]))

    def keep(self, layer: str, output: Tensor) -> Tensor:
        """Remember what is to be propagated, (branches * K, S, C), and return it."""
        self.outputs[layer] = output.reshape(self.branches, -1, *output.shape[1:])
        return output


@dataclass
class KeyframeOutputs:
    """What is propagated: for each layer (branches, K, S, C), of keyframes from `first` on."""

    outputs: dict[str, Tensor] = field(default_factory=dict)
    first: int = 0

    def add(self, outputs: dict[str, Tensor], window: Window) -> None:
        """Blend in what a window's call has made of its keyframes; windows come in order."""
        for layer, new in outputs.items():
            kept = self.outputs.get(layer)
            self.outputs[layer] = blended(kept, new, window, self.first, dim=1)

    def forget_before(self, slot: int) -> None:
        """Free the keyframes before a place in the step's list."""
        if slot > self.first:
            forget_first(self.outputs, slot - self.first, dim=1)
            self.first = slot

    def branch(self, number: int) -> KeyframeOutputs:
        """One branch alone, as views."""
        rows = slice(number, number + 1)
        return KeyframeOutputs({k: x[rows] for k, x in self.outputs.items()}, self.first)


@dataclass(frozen=True)
class AnchorTokens:
    """The anchors' keys and values for each layer, (branches, A, S, C), in the order of `slots`."""

    slots: tuple[int, ...]
    seen: KeysAndValues

    def of(self, slots: tuple[int, ...]) -> KeysAndValues:
        """Those of some anchors; none where there are none."""
        if not slots:
            return {}
        places = [self.slots.index(slot) for slot in slots]
        return {k: (keys[:, places], values[:, places]) for k, (keys, values) in self.seen.items()}


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

    keyframes: KeyframeOutputs
    blends: Sequence[Blend]
    fields: dict[str, Tensor]
    source_features: Tensor | None

    def attend(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        outputs = self.keyframes.outputs[layer]
        return propagate(outputs, self.fields[layer], self.blends).flatten(0, 1)

    @property
    def replaces_features(self) -> bool:
        return self.source_features is not None

    def features(self, output: Tensor) -> Tensor:
        if self.source_features is None:
            return output
        frames = len(self.source_features)
        return self.source_features.repeat(len(output) // frames, 1, 1, 1)


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
