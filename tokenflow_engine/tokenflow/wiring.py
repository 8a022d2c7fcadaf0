"""TokenFlow on and off a UNet, through diffusers' public seams only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor, nn

from ..client.errors import TokenFlowError
from .attention import PassEnded, UNetPass

INJECTED_BLOCKS = {1: (1, 2), 2: (0, 1, 2), 3: (0, 1, 2)}
"""Decoder blocks, and the attentions in them, whose queries and keys Plug-and-Play injects
(Tumanyan et al., CVPR 2023, arXiv:2211.12572: decoder layers 4 to 11)."""


CORNER = 2
"""Pixels a side; a group of channels must have more than one value to be normalised."""


class SelfAttention:
    """Attention processor that asks the current pass what a layer's self-attention returns."""

    def __init__(self, layer: str, wiring: Wiring) -> None:
        self.layer = layer
        self.wiring = wiring

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        return self.wiring.current.attend(self.layer, attn, hidden_states)

    @property
    def query_rows(self) -> int | None:
        return self.wiring.query_rows


class Wiring:
    """The UNet with TokenFlow in it: `run` makes one call under one pass.

    layers: names of all self-attention layers in a fixed order.
    injected_layers: those whose queries and keys Plug-and-Play injects.
    query_rows: tokens whose self-attention is computed at once, all if None.
    """

    def __init__(self, unet: Any) -> None:
        self.query_rows: int | None = None
        self._unet = unet
        self._current: UNetPass | None = None
        self.layers = tuple(
            name.removesuffix(".attn1.processor")
            for name in unet.attn_processors
            if name.endswith(".attn1.processor")
        )
        self.injected_layers = frozenset(
            layer
            for layer in self.layers
            for block, attentions in INJECTED_BLOCKS.items()
            for number in attentions
            if layer.startswith(f"up_blocks.{block}.attentions.{number}.")
        )

    @property
    def current(self) -> UNetPass:
        if self._current is None:
            raise RuntimeError("the UNet was called outside Wiring.run")
        return self._current

    def run(
        self, unet_pass: UNetPass, latents: Tensor, timestep: int, embeddings: Tensor
    ) -> Tensor:
        """The UNet's output (B, 4, h, w) for latents (B, 4, h, w) and embeddings (B, L, C)."""
        self._current = unet_pass
        try:
            output: Tensor = self._unet(latents, timestep, encoder_hidden_states=embeddings).sample
            return output
        finally:
            self._current = None

    def see(self, unet_pass: UNetPass, latents: Tensor, timestep: int, embeddings: Tensor) -> None:
        """`run` for what the pass keeps alone: not further than up to where the pass ends it."""
        with suppress(PassEnded):
            self.run(unet_pass, latents, timestep, embeddings)

    def features(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Forward hook of the layer whose features Plug-and-Play injects."""
        return self.current.features(output)

    def spare(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        """Forward pre-hook of the convolution before that layer, which has no other purpose: a
        corner is enough to convolve where the features are replaced."""
        if not self.current.replaces_features:
            return None
        return (inputs[0][..., :CORNER, :CORNER],)


def injected_block(unet: Any) -> nn.Module:
    """The residual block whose features Plug-and-Play injects.

    Raises:
        TokenFlowError: code "unknown_model", where the UNet has no such block.
    """
    try:
        block: nn.Module = unet.up_blocks[1].resnets[1]
    except (AttributeError, IndexError) as error:
        raise TokenFlowError(
            "unknown_model",
            "This model's UNet has other blocks than Stable Diffusion 1 and 2.",
            "Choose a Stable Diffusion 1 or 2 model.",
        ) from error
    return block


@contextmanager
def tokenflow(unet: Any) -> Iterator[Wiring]:
    """Install TokenFlow on a UNet, and leave the UNet exactly as it was at the end.

    unet: diffusers' `UNet2DConditionModel` with Stable Diffusion 1 or 2's blocks.

    Raises:
        TokenFlowError: see `injected_block`.
    """
    wiring = Wiring(unet)
    injected: Any = injected_block(unet)
    before = dict(unet.attn_processors)
    processors = before | {
        f"{layer}.attn1.processor": SelfAttention(layer, wiring) for layer in wiring.layers
    }
    hooks = (
        injected.conv1.register_forward_pre_hook(wiring.spare),
        injected.conv2.register_forward_hook(wiring.features),
    )
    try:
        unet.set_attn_processor(processors)
        yield wiring
    finally:
        for hook in hooks:
            hook.remove()
        unet.set_attn_processor(before)
