"""The released code's way, written again as plainly as possible, to check other models against.

Whole similarity matrices, explicit softmax, keys and values copied for each keyframe, all three
branches in every call, blocks' forwards replaced. Slow, and independent of the engine's code.
"""

from __future__ import annotations

import math
import types
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


def plain_edit(
    unet: Any,
    alphas: Tensor,
    prediction_type: str,
    clean: Tensor,
    embeddings: tuple[Tensor, Tensor, Tensor],
    steps: int,
    chunk: int,
    keyframes: list[list[int]],
    guidance_scale: float,
) -> list[Tensor]:
    """Latents (F, 4, h, w) after each Plug-and-Play step; embeddings: source, negative, prompt.

    As many inversion steps as edit steps, injection in the first 0.5 and 0.8 of them.
    """
    stride = 1000 // steps
    ascending = [1 + stride * i for i in range(steps)]

    def noise(x: Tensor, t: int, context: Tensor) -> Tensor:
        out = unet(x, t, encoder_hidden_states=context).sample
        if prediction_type == "v_prediction":
            return alphas[t].sqrt() * out + (1 - alphas[t]).sqrt() * x
        return out

    x, before, noisy = clean, alphas[0], {}
    for t in ascending:
        eps = noise(x, t, embeddings[0].expand(len(x), -1, -1))
        denoised = (x - (1 - before).sqrt() * eps) / before.sqrt()
        before = alphas[t]
        x = noisy[t] = before.sqrt() * denoised + (1 - before).sqrt() * eps

    flow = PlainTokenFlow(unet, chunk)

    def guided(x: Tensor, source: Tensor, t: int) -> Tensor:
        context = torch.cat([e.expand(len(x), -1, -1) for e in embeddings])
        _, negative, positive = noise(torch.cat([source, x, x]), t, context).chunk(3)
        return negative + guidance_scale * (positive - negative)

    trajectory = []
    for step, t in enumerate(reversed(ascending)):
        flow.inject_attention = step < int(0.5 * steps)
        flow.inject_features = step < int(0.8 * steps)
        flow.keyframe_pass = True
        guided(x[keyframes[step]], noisy[t][keyframes[step]], t)
        flow.keyframe_pass = False
        eps = []
        for flow.batch, start in enumerate(range(0, len(x), chunk)):
            eps.append(guided(x[start : start + chunk], noisy[t][start : start + chunk], t))
        after = alphas[t - stride] if t > stride else alphas[0]
        denoised = (x - (1 - alphas[t]).sqrt() * torch.cat(eps)) / alphas[t].sqrt()
        x = after.sqrt() * denoised + (1 - after).sqrt() * torch.cat(eps)
        trajectory.append(x)
    return trajectory
