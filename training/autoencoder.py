"""The autoencoder, and an analytic start that keeps colour.

From a default start a network this small learns brightness first and collapses colour to one
axis. `colour_start` sets it up as 8 x 8 colour pooling (23 dB) and leaves the rest to training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

PASSED = 8
"""Channels that carry the colour path: three +/- pairs and one constant pair."""
COLOUR_AXES = (
    (0.577, 0.577, 0.577),
    (0.707, -0.707, 0.0),
    (-0.408, -0.408, 0.816),
)
"""Brightness and two orthogonal colour axes: what latents 0 to 2 start as."""
AXIS_GAINS = (1.0, 2.0, 2.0)
FREE_LATENT_GAIN = 6.0
"""The fourth latent starts random; at its default scale training leaves it unused."""


def make_autoencoder(channels: Sequence[int], size: int) -> AutoencoderKL:
    """SD's topology (f = 8, 4 latent channels) with few channels."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        latent_channels=4,
        # Two groups: smaller ones normalise flat colour away.
        norm_num_groups=2,
        sample_size=size,
        scaling_factor=1.0,
    )


@torch.no_grad()
def colour_start(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Makes the autoencoder pool colours over 8 x 8 pixels and interpolate them back.

    A pair (x, -x) passes SiLU exactly, since silu(x) - silu(-x) = x; a constant pair pins the
    scale of GroupNorm; residual branches start at zero.

    pictures: float32 [N, 3, H, W] in [-1, 1], to measure that scale on.
    """
    for name, module in vae.named_modules():
        if name.endswith((".conv2", ".to_out.0")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        if name.endswith("conv_shortcut"):
            _pass(module, torch.ones(1, 1), slice(0, 1))
        if "downsamplers" in name and name.endswith(".conv"):
            _pass(module, torch.full((2, 2), 0.25), slice(0, 2))
        if "upsamplers" in name and name.endswith(".conv"):
            tent = torch.tensor([1.0, 2.0, 1.0]) / 4
            _pass(module, tent[:, None] * tent[None], slice(0, 3))
    for quantiser in (vae.quant_conv, vae.post_quant_conv):
        nn.init.zeros_(quantiser.bias)
        quantiser.weight.copy_(torch.eye(len(quantiser.weight))[:, :, None, None])
    axes, gains = torch.tensor(COLOUR_AXES), torch.tensor(AXIS_GAINS)
    _start_encoder(vae.encoder, axes, gains)
    _start_decoder(vae.decoder, axes, gains)
    for part in (vae.encoder, vae.decoder):
        _match_norm(vae, part, pictures)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pictures: Sequence[Tensor]) -> None:
    """Gives every latent channel zero mean and unit deviation without changing any picture.

    The change is linear, so the 1 x 1 convolutions around the latents take it up exactly. The
    noise schedule then treats all channels alike, and the scaling factor is 1.
    """
    latents = torch.cat([vae.encode(batch).latent_dist.mean for batch in pictures])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    quantise, restore = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    quantise.weight[:channels] /= deviation[:, None, None, None]
    quantise.bias[:channels] = (quantise.bias[:channels] - mean) / deviation
    quantise.bias[channels:] -= 2 * deviation.log()
    restore.bias += restore.weight[:, :, 0, 0] @ mean
    restore.weight *= deviation[None, :, None, None]


def _start_encoder(encoder: nn.Module, axes: Tensor, gains: Tensor) -> None:
    _clear(encoder.conv_in)
    for colour in range(3):
        encoder.conv_in.weight[2 * colour, colour, 1, 1] = 1
        encoder.conv_in.weight[2 * colour + 1, colour, 1, 1] = -1
    _pin(encoder.conv_in)
    weight, bias = encoder.conv_out.weight, encoder.conv_out.bias
    weight[:3] = 0
    weight[3] *= FREE_LATENT_GAIN
    bias.zero_()
    # The posterior's log variance: almost exact latents.
    weight[4:] = 0
    bias[4:] = -4
    for latent in range(3):
        for colour in range(3):
            value = axes[latent, colour] * gains[latent]
            weight[latent, 2 * colour, 1, 1] = value
            weight[latent, 2 * colour + 1, 1, 1] = -value


def _start_decoder(decoder: nn.Module, axes: Tensor, gains: Tensor) -> None:
    _clear(decoder.conv_in)
    for colour in range(3):
        for latent in range(3):
            value = axes[latent, colour] / gains[latent]
            decoder.conv_in.weight[2 * colour, latent, 1, 1] = value
            decoder.conv_in.weight[2 * colour + 1, latent, 1, 1] = -value
    _pin(decoder.conv_in)
    decoder.conv_out.weight.mul_(0.1)
    decoder.conv_out.weight[:, :PASSED] = 0
    decoder.conv_out.bias.zero_()
    for colour in range(3):
        decoder.conv_out.weight[colour, 2 * colour, 1, 1] = 1
        decoder.conv_out.weight[colour, 2 * colour + 1, 1, 1] = -1


def _clear(conv: nn.Module) -> None:
    conv.weight[:PASSED] = 0
    conv.bias[:PASSED] = 0


def _pass(conv: nn.Module, kernel: Tensor, span: slice) -> None:
    """Lets the colour path through a convolution, blurred by `kernel`."""
    _clear(conv)
    for channel in range(PASSED):
        conv.weight[channel, channel, span, span] = kernel


def _pin(conv: nn.Module) -> None:
    conv.weight[PASSED - 2 : PASSED] = 0
    conv.bias[PASSED - 2] = 3
    conv.bias[PASSED - 1] = -3


def _match_norm(vae: AutoencoderKL, part: nn.Module, pictures: Tensor) -> None:
    """Undoes the last normalisation's scale on the colour path, measured on real pictures."""
    seen: list[Tensor] = []
    hook = part.conv_norm_out.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    vae.decode(vae.encode(pictures).latent_dist.mean)
    hook.remove()
    group = seen[0][:, : seen[0].shape[1] // 2]
    part.conv_norm_out.weight[:PASSED] = group.reshape(len(group), -1).std(1).mean()
