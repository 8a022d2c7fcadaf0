"""Latents of all pictures, plain and mirrored, at full and at two thirds of the size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .pictures import shard_path
from .plan import Plan
from .state import save_arrays
from .vae_training import load_autoencoder, to_model
from .workers import Worker

Array = NDArray[Any]
BATCH = 10


def latent_path(state: Path, number: int) -> Path:
    return state / "latents" / f"{number:04d}.npz"


@torch.no_grad()
def encode_shards(worker: Worker, plan: Plan, state: Path, pictures: int) -> None:
    """Encodes the shards of pictures whose latents are missing, each worker its share."""
    vae = load_autoencoder(plan, state)
    for number in range(worker.rank, pictures // plan.shard, worker.count):
        if worker.should_stop():
            return
        path = latent_path(state, number)
        if path.exists():
            continue
        with np.load(shard_path(state, number)) as shard:
            images, masks, attributes = shard["images"], shard["masks"], shard["attributes"]
        both = np.stack([images, images[:, :, ::-1]], 1)
        encoded = [
            _encode(vae, plan, part) for part in np.array_split(both, -(-len(both) // BATCH))
        ]
        covers = torch.from_numpy(np.stack([masks, masks[:, :, ::-1]], 1).copy()).float()
        save_arrays(
            path,
            large=np.concatenate([large for large, _ in encoded]),
            small=np.concatenate([small for _, small in encoded]),
            large_masks=_shares(covers, plan.cells),
            small_masks=_shares(covers, plan.small_cells),
            attributes=attributes,
        )


def _encode(vae: AutoencoderKL, plan: Plan, images: Array) -> tuple[Array, Array]:
    """uint8 [B, 2, H, W, 3] -> float16 latents [B, 2, 4, h, w] of both sizes."""
    count = len(images)
    pictures = to_model(np.ascontiguousarray(images.reshape(count * 2, *images.shape[2:])))
    side = plan.small_cells * 8
    reduced = functional.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True)
    latents = [
        vae.encode(each.contiguous(memory_format=torch.channels_last)).latent_dist.mean
        for each in (pictures, reduced)
    ]
    large, small = (
        each.reshape(count, 2, *each.shape[1:]).numpy().astype(np.float16) for each in latents
    )
    return large, small


def _shares(covers: Tensor, cells: int) -> Array:
    """Shares of the object [N, 2, h, w] of 255 -> uint8 [N, 2, cells, cells]."""
    pooled = functional.adaptive_avg_pool2d(covers, cells)
    return np.asarray(pooled.round().byte().numpy())


@dataclass(frozen=True)
class LatentSet:
    """latents: float16 [N, 2, 4, h, w], plain and mirrored; masks: uint8 [N, 2, h, w]."""

    latents: Tensor
    masks: Tensor

    def batch(self, indices: Array, mirrored: Array) -> tuple[Tensor, Tensor]:
        """Latents float32 [B, 4, h, w], and the object's shares [B, 1, h, w]."""
        chosen = torch.from_numpy(indices), torch.from_numpy(mirrored)
        latents = self.latents[chosen].float()
        return latents.contiguous(memory_format=torch.channels_last), self.masks[chosen].float()[
            :, None
        ] / 255


@dataclass(frozen=True)
class Latents:
    """Everything that the UNet learns from."""

    small: LatentSet
    large: LatentSet
    attributes: Array

    def __len__(self) -> int:
        return len(self.attributes)


def load_latents(plan: Plan, state: Path, pictures: int) -> Latents:
    """The latents of the first `pictures` pictures. Raises FileNotFoundError when one misses."""
    shards = [np.load(latent_path(state, number)) for number in range(pictures // plan.shard)]

    def joined(name: str) -> Array:
        return np.concatenate([shard[name] for shard in shards])

    large = joined("large")
    return Latents(
        small=LatentSet(torch.from_numpy(joined("small")), torch.from_numpy(joined("small_masks"))),
        large=LatentSet(torch.from_numpy(large), torch.from_numpy(joined("large_masks"))),
        attributes=joined("attributes"),
    )
