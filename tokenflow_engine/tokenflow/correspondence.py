"""Correspondence fields: for every token of a frame its nearest neighbour in a keyframe (eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor

SIMILARITY_BYTES = 64 * 2**20
"""Largest block of cosine similarities that is held at once."""


def unit_tokens(tokens: Tensor) -> Tensor:
    """Tokens (..., C) scaled to length 1, so that a dot product is their cosine similarity."""
    return tokens / tokens.norm(dim=-1, keepdim=True)


def nearest_neighbours(queries: Tensor, keys: Tensor) -> Tensor:
    """Index of the most similar key for each query; the first one where several are equal.

    queries: (n, Q, C) and keys: (n, S, C), both of unit length (`unit_tokens`).
    Returns int64 (n, Q), each in [0, S).

    A running maximum over blocks of keys, so that the whole (Q, S) similarity matrix, 0.5 GB a
    frame pair at 512x512, never exists.
    """
    frames, count, _ = queries.shape
    block = max(1, SIMILARITY_BYTES // (frames * count * queries.element_size()))
    best, index = (queries @ keys[:, :block].mT).max(dim=-1)
    for start in range(block, keys.shape[1], block):
        similarity, candidate = (queries @ keys[:, start : start + block].mT).max(dim=-1)
        closer = similarity > best
        best = torch.where(closer, similarity, best)
        index = torch.where(closer, candidate + start, index)
    return index
