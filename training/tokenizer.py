"""A tokenizer in CLIP's format whose every domain word is one token."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from tokenflow_engine.toyworld import VOCABULARY

from .plan import Plan

WORD_END = "</w>"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges after which every word is one token, the most frequent pair first.

    The `tokenizers` library's trainer breaks ties in another order each time; this one takes
    the first in the alphabet.
    """
    spellings = [[*word[:-1], word[-1] + WORD_END] for word in sorted(set(words))]
    merges = []
    while True:
        pairs = Counter(pair for letters in spellings for pair in pairwise(letters))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spellings = [_merged(letters, best) for letters in spellings]


def _merged(letters: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for letter in letters:
        if joined and (joined[-1], letter) == pair:
            joined[-1] += letter
        else:
            joined.append(letter)
    return joined


def write_tokenizer(plan: Plan, folder: Path) -> None:
    """Writes byte-level BPE over the vocabulary as CLIP's tokenizer files.

    Other text still encodes, letter by letter.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = learn_merges(VOCABULARY)
    merges, joined = [" ".join(pair) for pair in pairs], ["".join(pair) for pair in pairs]
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
