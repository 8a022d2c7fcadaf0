"""A tokenizer in CLIP's format whose every domain word is one token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from tokenflow_engine.toyworld import VOCABULARY

from .plan import Plan

WORD_END = "</w>"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
CLIP_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
"""How CLIP's tokenizer splits text into words."""


def write_tokenizer(plan: Plan, folder: Path) -> None:
    """Trains byte-level BPE on the vocabulary and writes it as CLIP's tokenizer files.

    Other text still encodes, letter by letter.
    """
    words = sorted(VOCABULARY)
    rng = np.random.default_rng(plan.seed)
    corpus = [" ".join(rng.permutation(words)) for _ in range(50)]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        initial_alphabet=alphabet,
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
    joined = [merge.replace(" ", "") for merge in merges]
    tokens = [*alphabet, *(letter + WORD_END for letter in alphabet), *joined, BEGIN, END]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    special = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
    config = special | {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": plan.text_tokens,
        "do_lower_case": True,
        "errors": "replace",
        "add_prefix_space": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "vocab.json", json.dumps(vocabulary))
    _write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
    _write(folder / "special_tokens_map.json", json.dumps(special))
    _write(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)


def load_tokenizer(plan: Plan, state: Path) -> CLIPTokenizer:
    """The tokenizer of a training run, written when it is missing."""
    folder = state / "tokenizer"
    if not (folder / "tokenizer_config.json").exists():
        write_tokenizer(plan, folder)
    return CLIPTokenizer.from_pretrained(folder)
