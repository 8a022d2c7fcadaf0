"""How well a clip shows its prompt, and how alike its frames are: by CLIP, or in the toy world by
the attribute classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from ..client.embedded_words import ATTRIBUTES
from ..client.errors import TokenFlowError
from ..evaluation.attributes import AttributeReader
from ..evaluation.metrics import Picture
from ..toyworld.captions import parse_caption

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was trained on (Radford et al., arXiv:2103.00020, released code)."""


class Similarity(Protocol):
    """What two frames, or a frame and a prompt, have in common."""

    @property
    def name(self) -> str:
        """What judges."""

    def text_alignment(self, clip: Sequence[Picture], prompt: str) -> float:
        """How well the frames show the prompt, higher is better."""

    def frame_consistency(self, clip: Sequence[Picture]) -> float:
        """Mean cosine similarity of neighbouring frames, at most 1."""


@dataclass(frozen=True)
class AttributeSimilarity:
    """Toy world: the mean probability of the attributes that the prompt names, in [0, 1], and the
    frames' attribute probabilities as embeddings. NaN for prompts with other words."""

    reader: AttributeReader
    name: str = "attribute classifier"

    def text_alignment(self, clip: Sequence[Picture], prompt: str) -> float:
        wanted = attributes_of(prompt)
        if not wanted:
            return math.nan
        read = self.reader.probabilities(clip)
        shown = [read[name][:, ATTRIBUTES[name].index(value)] for name, value in wanted.items()]
        return float(np.mean(shown))

    def frame_consistency(self, clip: Sequence[Picture]) -> float:
        read = self.reader.probabilities(clip)
        return _consistency(torch.from_numpy(np.concatenate(list(read.values()), axis=1)))


class ClipSimilarity:
    """CLIP: cosine similarity of frames and prompt, and of neighbouring frames."""

    name = "CLIP"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def text_alignment(self, clip: Sequence[Picture], prompt: str) -> float:
        tokens = self._tokenizer([prompt], truncation=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            text = _features(self._model.get_text_features(**tokens))
        return float(functional.cosine_similarity(self._embedded(clip), text).mean())

    def frame_consistency(self, clip: Sequence[Picture]) -> float:
        return _consistency(self._embedded(clip))

    def _embedded(self, clip: Sequence[Picture]) -> Tensor:
        side = int(self._model.config.vision_config.image_size)
        mean, deviation = (torch.tensor(v).reshape(3, 1, 1) for v in (CLIP_MEAN, CLIP_DEVIATION))
        rows = []
        for picture in clip:
            pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None] / 255
            small = functional.interpolate(
                pixels, size=(side, side), mode="bicubic", antialias=True, align_corners=False
            )
            with torch.inference_mode():
                values = (small.clamp(0, 1) - mean) / deviation
                rows.append(_features(self._model.get_image_features(pixel_values=values)))
        return torch.cat(rows)


def load_clip(folder: Path) -> ClipSimilarity:
    """A CLIP model out of a local folder in transformers' layout; nothing is fetched.

    Raises:
        TokenFlowError: code "unknown_model".
    """
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TokenFlowError(
            "unknown_model",
            f'There is no readable CLIP model in "{folder}".',
            "Give a folder with CLIP's config, tokenizer and .safetensors weights.",
            repr(error),
        ) from error
    return ClipSimilarity(model.eval(), tokenizer)


def attributes_of(prompt: str) -> Mapping[str, str]:
    """The toy world's attributes in a prompt; none where it has words of another world."""
    try:
        return parse_caption(prompt)
    except ValueError:
        return {}


def _features(output: Any) -> Tensor:
    features: Tensor = getattr(output, "pooler_output", output)
    return features


def _consistency(embeddings: Tensor) -> float:
    pairs = [functional.cosine_similarity(a, b, dim=0) for a, b in pairwise(embeddings)]
    return float(torch.stack(pairs).mean()) if pairs else math.nan
