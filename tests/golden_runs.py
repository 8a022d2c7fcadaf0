"""Edits of the recorded clips, started from their recorded latents."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.diffusion.model import load_model
from tokenflow_engine.diffusion.prompts import embed
from tokenflow_engine.editors.registry import PLANS
from tokenflow_engine.media.frames import SourceInfo
from tokenflow_engine.media.latents import LatentStore
from tokenflow_engine.phases.cache import PhaseCache
from tokenflow_engine.phases.invert import (
    Inversion,
    InversionWork,
    begin_inversion,
    inverted,
    keep_path,
)
from tokenflow_engine.phases.meter import ProgressMeter
from tokenflow_engine.phases.run import EditRun

GOLDEN = Path(__file__).parent / "golden"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))
CASES = tuple(MANIFEST["cases"])
EDITORS = ("pnp", "sdedit")


@dataclass(frozen=True)
class GoldenCase:
    """A recorded clip and what the authors' code made of it."""

    name: str

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = MANIFEST["cases"][self.name]
        return facts

    def arrays(self, kind: str) -> dict[str, Tensor]:
        return load_file(GOLDEN / f"{self.name}.{kind}.safetensors")

    def run(self, editor: str, folder: Path, **changes: Any) -> EditRun:
        """The edit as the authors' code made it; `changes` go into its request."""
        facts, recorded = self.facts, self.facts[editor]
        request = EditRequest(
            source="recorded latents",
            prompt=facts["prompt"],
            negative_prompt=facts["negative_prompt"],
            source_prompt=facts["inversion_prompt"],
            output=str(folder / "out"),
            model=str(GOLDEN / "pipeline"),
            editor=editor,
            steps=facts["pnp"]["n_timesteps"],
            inversion_steps=facts["inversion"]["steps"],
            guidance_scale=recorded["guidance_scale"],
            chunk=recorded["batch_size"],
            mode="reference",
            dtype="float32",
        )
        request = replace(request, **changes)
        dtype = getattr(torch, request.dtype)
        model = load_model(request.model, torch.device("cpu"), dtype)
        timesteps = tuple(model.schedule.timesteps(request.steps))
        width, height = facts["size_wh"]
        return EditRun(
            request=request,
            source=SourceInfo("images", facts["n_frames"], width, height, None),
            model=model,
            first_frame=0,
            frame_count=facts["n_frames"],
            size=(width, height),
            content=self.name,
            source_embedding=embed(model, request.source_prompt),
            edit_embeddings=torch.cat(
                [embed(model, request.negative_prompt), embed(model, request.prompt)]
            ),
            plan=PLANS[editor](request, timesteps),
            keyframes=tuple(tuple(keys) for keys in recorded["keyframes_per_step"]),
            inversion_timesteps=tuple(model.schedule.timesteps(request.inversion_steps)[::-1]),
            cache=PhaseCache(folder / "cache"),
            meter=_idle_meter(),
        )

    def invert(self, run: EditRun, folder: Path) -> Inversion:
        """The clip's inversion from its recorded clean latents."""
        store = LatentStore(folder)
        begin_inversion(run, store)
        clean = self.arrays("inversion")["z0"].to(run.model.latent_dtype)
        for start in range(0, run.frame_count, run.request.chunk):
            batch = slice(start, min(start + run.request.chunk, run.frame_count))
            keep_path(run, store, batch, inverted(run, clean[batch], InversionWork.of(run)))
        return Inversion(run, store)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2 distance."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def _idle_meter() -> ProgressMeter:
    meter = ProgressMeter({})
    meter.phase("invert").__enter__()
    return meter
