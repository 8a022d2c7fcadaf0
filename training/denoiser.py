"""The UNet and text encoder, with SD 1.5's topology at a hundredth of its size."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .plan import Plan

TIMESTEPS = 1000


def make_unet(plan: Plan) -> UNet2DConditionModel:
    """Residual branches start at zero, so that the untrained network passes its input through."""
    unet = UNet2DConditionModel(
        sample_size=plan.cells,
        in_channels=4,
        out_channels=4,
        layers_per_block=2,
        block_out_channels=plan.unet_channels,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=plan.text_width,
        attention_head_dim=plan.unet_heads,
        norm_num_groups=plan.unet_groups,
    )
    for name, module in unet.named_modules():
        if name.endswith((".conv2", "proj_out")) or name == "conv_out":
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return unet.to(memory_format=torch.channels_last)


def make_text_encoder(plan: Plan, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=plan.text_width,
            intermediate_size=plan.text_width * 4,
            num_hidden_layers=plan.text_layers,
            num_attention_heads=4,
            max_position_embeddings=plan.text_tokens,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=plan.text_width,
        )
    )


def make_schedule() -> DDIMScheduler:
    """SD 1.5's noise schedule, epsilon prediction."""
    return DDIMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


class Denoiser(nn.Module):
    """Text encoder and UNet as one module: noisy latents and token ids to the noise."""

    def __init__(self, plan: Plan, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.unet = make_unet(plan)
        self.text_encoder = make_text_encoder(plan, tokenizer)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """noisy [B, 4, h, w], timesteps [B], tokens [B, T] -> noise [B, 4, h, w]."""
        words = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, timesteps, words).sample


def make_pipeline(
    denoiser: Denoiser, vae: AutoencoderKL, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """A complete diffusers pipeline; `vae.config.scaling_factor` must be set."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=make_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
