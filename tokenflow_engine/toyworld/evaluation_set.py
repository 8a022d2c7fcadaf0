"""Clips to measure edits on: what was asked, what must not change, and the exact truth beside them.

The scenes come from seeds that no training uses. Edits whose detail is free to vary (materials,
grounds) are as frequent as plain recolourings, which are nearly consistent frame by frame already.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..client.embedded_words import COLOURS, GROUNDS, PATTERNS, SKIES
from ..media.pictures import write_numbered
from .clips import MOTIONS, edited, move, render_clip
from .scene import Scene, sample_scene

SEED = 260_301
"""Training draws its pictures from (7, index) and the attribute classifier from 640001 on."""

CAPTIONS = "captions.json"

EDITS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("recolouring", "look", tuple(COLOURS)),
    ("material", "look", PATTERNS),
    ("ground", "ground", GROUNDS),
    ("sky", "sky", SKIES),
)
"""Class of each edit, the attribute it changes, and the values it may ask for."""


def write_evaluation_set(
    folder: Path, clips: int, frames: int, size: int, *, start: int = 0
) -> list[dict[str, Any]]:
    """Write clips number `start` on, and `captions.json`, into a folder; return what that holds.

    For each clip NAME: NAME/ and NAME.truth/ (numbered PNG), NAME.masks.npz ("masks" uint8
    (F, H, W), the object's share of 255; "unchanged" bool, the pixels a perfect edit leaves as they
    are), NAME.flow.npz ("fields" float32 (F - 1, H, W, 2) in pixels, "visible" bool).
    size: pixels a side. The same number always gives the same scene and edit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_write_clip(folder, number, frames, size) for number in range(start, start + clips)]
    text = json.dumps(entries, indent=1) + "\n"
    (folder / CAPTIONS).write_text(text, encoding="utf-8")
    return entries


def plan_clip(number: int) -> tuple[Scene, str, str, dict[str, str]]:
    """The scene that a clip begins near, its motion, the class of its edit, and the edit."""
    rng = np.random.default_rng((SEED, number))
    scene = sample_scene(rng)
    kind, attribute, targets = EDITS[number % len(EDITS)]
    # Another motion for each round of edits, and for each edit of a round.
    motion = MOTIONS[(number % len(EDITS) + number // len(EDITS)) % len(MOTIONS)]
    if attribute == "look":
        # A mirror shows its surroundings: recolouring it would change more than its colour.
        scene = replace(scene, look=str(rng.choice(list(COLOURS))))
    others = [value for value in targets if value != getattr(scene, attribute)]
    return scene, motion, kind, {attribute: str(rng.choice(others))}


def _write_clip(folder: Path, number: int, frames: int, size: int) -> dict[str, Any]:
    scene, motion, kind, edit = plan_clip(number)
    clip = render_clip(move(scene, motion, frames), size, size)
    truth = edited(clip, **edit)
    value = next(iter(edit.values()))
    name = f"{number:02d}_{scene.look}_{scene.shape}_{scene.ground}_{motion}_to_{value}"
    write_numbered(folder / name, clip.frames)
    write_numbered(folder / f"{name}.truth", truth.frames)
    np.savez_compressed(
        folder / f"{name}.masks.npz",
        masks=np.round(clip.masks * 255).astype(np.uint8),
        unchanged=(clip.frames == truth.frames).all(-1),
    )
    np.savez_compressed(folder / f"{name}.flow.npz", fields=clip.flows, visible=clip.visible)
    return {
        "file": name,
        "truth": f"{name}.truth",
        "source_prompt": clip.caption,
        "target_prompt": truth.caption,
        "seed": number,
        "kind": motion,
        "class": kind,
        "scene": {key: getattr(clip.scenes[0], key) for key in ("shape", "look", "ground", "sky")},
        "edit": edit,
    }
