"""The shipped checkpoint: the moving averages in half precision, in diffusers' layout."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from .adoption import write_record
from .denoiser import make_pipeline
from .plan import Plan
from .tokenizer import load_tokenizer
from .unet_training import load_denoiser, samples_seen
from .vae_training import load_autoencoder

CLIP_FILES = ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")
LARGEST_FILE = "15MB"
"""Weights are split into files no larger than this, which any repository takes."""


def export(plan: Plan, state: Path, folder: Path) -> None:
    """Writes the model so that `StableDiffusionPipeline.from_pretrained(folder)` loads it.

    The folder is replaced file by file; nothing but safetensors and JSON is written.
    """
    vae = load_autoencoder(plan, state).to(memory_format=torch.contiguous_format)
    denoiser = load_denoiser(plan, state).to(memory_format=torch.contiguous_format)
    pipeline = make_pipeline(denoiser, vae, load_tokenizer(plan, state)).to(torch.float16)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        fresh = Path(temporary)
        pipeline.save_pretrained(fresh, safe_serialization=True, max_shard_size=LARGEST_FILE)
        # transformers writes tokenizer.json alone; other readers look for CLIP's own files.
        for name in CLIP_FILES:
            (fresh / "tokenizer" / name).write_bytes((state / "tokenizer" / name).read_bytes())
        for part in sorted(path for path in fresh.iterdir() if path.is_dir()):
            target = folder / part.name
            target.mkdir(exist_ok=True)
            for old in target.iterdir():
                old.unlink()
            for new in part.iterdir():
                new.replace(target / new.name)
        (fresh / "model_index.json").replace(folder / "model_index.json")
        write_record(plan, folder, samples_seen(state))
