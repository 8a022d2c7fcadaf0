"""The released code's way, written from the paper as plainly as possible.

Whole similarity matrices, explicit softmax, keys and values copied for each keyframe, all three
branches in every call, blocks' forwards replaced. Slow, and independent of the engine's code: tests
check the engine against it, the benchmark times it.
"""

from __future__ import annotations

import math
import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

INJECTED = {
    f"up_blocks.{block}.attentions.{number}"
    for block, numbers in {1: (1, 2), 2: (0, 1, 2), 3: (0, 1, 2)}.items()
    for number in numbers
}


class PlainTokenFlow:
    """Replaces the forwards of a UNet that is thrown away afterwards."""

    def __init__(self, unet: Any, chunk: int) -> None:
        self.unet, self.chunk = unet, chunk
        self.keyframe_pass, self.batch = True, 0
        self.inject_attention = self.inject_features = False
        self.tokens: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        for name, module in unet.named_modules():
            if type(module).__name__ == "BasicTransformerBlock":
                layer = name.split(".transformer_blocks")[0]
                module.forward = types.MethodType(self._forward(layer), module)
        unet.up_blocks[1].resnets[1].conv2.register_forward_hook(self._features)

    def _features(self, module: Any, inputs: Any, output: Tensor) -> Tensor:
        return torch.cat([output.chunk(3)[0]] * 3) if self.inject_features else output

    def _forward(self, layer: str) -> Any:
        def forward(
            block: Any, x: Tensor, *_: Any, encoder_hidden_states: Tensor, **__: Any
        ) -> Any:
            normed = block.norm1(x)
            seen = self._keyframes if self.keyframe_pass else self._propagated
            x = x + seen(layer, block.attn1, normed)
            x = x + block.attn2(block.norm2(x), encoder_hidden_states=encoder_hidden_states)
            return x + block.ff(block.norm3(x))

        return forward

    def _keyframes(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        count = len(tokens) // 3
        q, k, v = attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)
        if self.inject_attention and layer in INJECTED:
            q, k = torch.cat([q[:count]] * 3), torch.cat([k[:count]] * 3)
        out = []
        for frame in range(3 * count):
            branch = frame // count
            rows = [frame] if branch == 0 else list(range(branch * count, (branch + 1) * count))
            keys, values = (torch.cat([y[row] for row in rows]) for y in (k, v))
            heads = []
            for query, key, value in zip(
                *(y.chunk(attn.heads, -1) for y in (q[frame], keys, values)), strict=True
            ):
                scores = query @ key.T / math.sqrt(query.shape[-1])
                heads.append(scores.softmax(-1) @ value)
            out.append(attn.to_out[0](torch.cat(heads, -1)))
        self.tokens[layer] = tokens[:count]
        self.outputs[layer] = torch.stack(out).unflatten(0, (3, count))
        return torch.stack(out)

    def _propagated(self, layer: str, attn: Any, tokens: Tensor) -> Tensor:
        count = len(tokens) // 3

        def nearest(query: Tensor, key: Tensor) -> Tensor:
            query, key = (y / y.norm(dim=-1, keepdim=True) for y in (query, key))
            return (query @ key.T).argmax(-1)

        out = torch.empty(3, count, *tokens.shape[1:], dtype=tokens.dtype)
        for i in range(count):
            frame, b = self.batch * self.chunk + i, self.batch
            here = self.outputs[layer][:, b, nearest(tokens[i], self.tokens[layer][b])]
            if b == 0:
                out[:, i] = here
                continue
            other = self.outputs[layer][:, b - 1, nearest(tokens[i], self.tokens[layer][b - 1])]
            d1 = abs(frame - (b * self.chunk + self.chunk // 2))
            d2 = abs(frame - ((b - 1) * self.chunk + self.chunk // 2))
            weight = 1 / (1 + math.exp(-d2 / (d1 + d2)))
            out[:, i] = weight * here + (1 - weight) * other
        return out.flatten(0, 1)


Embeddings = tuple[Tensor, Tensor, Tensor]
"""Of the source's prompt, the negative prompt and the prompt, each (1, L, C)."""


@dataclass(frozen=True)
class PlainModel:
    """alphas: mu**2 of each training timestep, on the UNet's device."""

    unet: Any
    alphas: Tensor
    prediction_type: str

    def noise(self, x: Tensor, t: int, context: Tensor) -> Tensor:
        out: Tensor = self.unet(x, t, encoder_hidden_states=context).sample
        if self.prediction_type == "v_prediction":
            return self.alphas[t].sqrt() * out + (1 - self.alphas[t]).sqrt() * x
        return out

    def step(self, x: Tensor, eps: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """DDIM from one mu**2 to another."""
        denoised = (x - (1 - before).sqrt() * eps) / before.sqrt()
        return after.sqrt() * denoised + (1 - after).sqrt() * eps

    def invert(self, clean: Tensor, source: Tensor, timesteps: list[int]) -> dict[int, Tensor]:
        """Noisy latents at each of the ascending timesteps."""
        x, before, noisy = clean, self.alphas[0], {}
        for t in timesteps:
            eps = self.noise(x, t, source.expand(len(x), -1, -1))
            x = noisy[t] = self.step(x, eps, before, self.alphas[t])
            before = self.alphas[t]
        return noisy


@dataclass
class PlainEdit:
    """Plug-and-Play's steps as released: a keyframe call, and one call for each chunk of frames.

    attention_steps, feature_steps: in how many of the first steps the source is injected.
    """

    model: PlainModel
    embeddings: Embeddings
    chunk: int
    guidance_scale: float
    attention_steps: int
    feature_steps: int

    def __post_init__(self) -> None:
        self.flow = PlainTokenFlow(self.model.unet, self.chunk)

    def step(self, number: int, t: int, x: Tensor, source: Tensor, keyframes: list[int]) -> Tensor:
        """The noise (F, 4, h, w) that step `number` finds in the edit's latents.

        source: the inverted latents of all frames at the same timestep.
        """
        flow = self.flow
        flow.inject_attention = number < self.attention_steps
        flow.inject_features = number < self.feature_steps
        flow.keyframe_pass = True
        self._guided(x[keyframes], source[keyframes], t)
        flow.keyframe_pass = False
        parts = []
        for flow.batch, start in enumerate(range(0, len(x), self.chunk)):
            some = slice(start, start + self.chunk)
            parts.append(self._guided(x[some], source[some], t))
        return torch.cat(parts)

    def _guided(self, x: Tensor, source: Tensor, t: int) -> Tensor:
        context = torch.cat([e.expand(len(x), -1, -1) for e in self.embeddings])
        _, negative, positive = self.model.noise(torch.cat([source, x, x]), t, context).chunk(3)
        return negative + self.guidance_scale * (positive - negative)


def plain_edit(
    model: PlainModel,
    clean: Tensor,
    embeddings: Embeddings,
    steps: int,
    chunk: int,
    keyframes: list[list[int]],
    guidance_scale: float,
) -> list[Tensor]:
    """Latents (F, 4, h, w) after each Plug-and-Play step.

    As many inversion steps as edit steps, injection in the first 0.5 and 0.8 of them.
    """
    stride = 1000 // steps
    ascending = [1 + stride * i for i in range(steps)]
    noisy = model.invert(clean, embeddings[0], ascending)
    x = noisy[ascending[-1]]
    edit = PlainEdit(model, embeddings, chunk, guidance_scale, int(0.5 * steps), int(0.8 * steps))
    trajectory = []
    for number, t in enumerate(reversed(ascending)):
        eps = edit.step(number, t, x, noisy[t], keyframes[number])
        after = model.alphas[t - stride] if t > stride else model.alphas[0]
        x = model.step(x, eps, model.alphas[t], after)
        trajectory.append(x)
    return trajectory
