"""Prompts to text embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .model import DiffusionModel


def embed(model: DiffusionModel, prompt: str) -> Tensor:
    """(1, L, C) last hidden state of the text encoder, padded or cut to its L tokens."""
    ids = model.tokenizer(
        prompt,
        padding="max_length",
        max_length=model.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    with torch.inference_mode():
        return model.text_encoder(ids.to(model.device)).last_hidden_state.clone()


def lost_words(model: DiffusionModel, prompt: str) -> list[str]:
    """The words at a prompt's end for which the text encoder has no room; mostly none."""
    room = model.tokenizer.model_max_length

    def tokens(words: list[str]) -> int:
        return len(model.tokenizer(" ".join(words)).input_ids)

    words = prompt.split()
    kept = len(words)
    while kept and tokens(words[:kept]) > room:
        kept -= 1
    return words[kept:]
