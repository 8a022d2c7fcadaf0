"""The stages of a training run and their order."""

from __future__ import annotations

import time
from pathlib import Path

from .adoption import adopt
from .export import export
from .judgement import judge
from .latents import encode_shards, latent_path
from .pictures import render_shards, shard_path
from .plan import Plan
from .samples import save_samples
from .tokenizer import load_tokenizer
from .unet_training import load_denoiser, samples_seen, train_unet
from .vae_training import finish_autoencoder, is_trained, train_autoencoder
from .workers import run_workers


class Run:
    """A training run with a time limit; every method does what is left of its stage."""

    def __init__(self, plan: Plan, state: Path, hours: float) -> None:
        self.plan, self.state = plan, state
        self._end = time.monotonic() + hours * 3600

    @property
    def hours(self) -> float:
        """Hours left."""
        return (self._end - time.monotonic()) / 3600

    def tokenizer(self) -> None:
        load_tokenizer(self.plan, self.state)

    def data(self, pictures: int) -> None:
        if not self._has(shard_path(self.state, 0).parent, pictures):
            self._work(render_shards, pictures)

    def vae(self) -> None:
        if not is_trained(self.state):
            self._work(train_autoencoder)
            finish_autoencoder(self.plan, self.state)

    def latents(self, pictures: int) -> None:
        # Later training of the autoencoder would no longer fit the UNet.
        if not is_trained(self.state):
            raise RuntimeError("The autoencoder is not trained to its end yet: run `vae` first.")
        if not self._has(latent_path(self.state, 0).parent, pictures):
            self._work(encode_shards, pictures)

    def unet(self) -> None:
        """Renders and encodes more pictures on the way, as the plan's growth says."""
        for pictures, until in self.plan.growth:
            if samples_seen(self.state) >= until:
                continue
            for stage in (self.data, self.latents):
                if self.hours > 0:
                    stage(pictures)
            if self.hours > 0 and self._has(latent_path(self.state, 0).parent, pictures):
                self._work(train_unet, pictures, until)

    def everything(self) -> None:
        self.tokenizer()
        self.data(self.plan.first_pictures)
        if self.hours > 0:
            self.vae()
        if self.hours > 0 and is_trained(self.state):
            self.unet()

    def _has(self, folder: Path, pictures: int) -> bool:
        present = {path.stem for path in folder.glob("[0-9]*.npz")}
        return {f"{number:04d}" for number in range(pictures // self.plan.shard)} <= present

    def _work(self, work: object, *arguments: object) -> None:
        assert callable(work)
        run_workers(
            work,
            self.plan,
            self.state,
            *arguments,
            count=self.plan.processes,
            hours=max(self.hours, 0),
        )


def run_stage(
    stage: str,
    plan: Plan,
    state: Path,
    *,
    hours: float,
    pictures: int | None = None,
    output: Path | None = None,
    model: Path | None = None,
    side: int | None = None,
    guidance: float = 5.0,
) -> None:
    """Does what is left of one stage, or with "run" of all of them.

    Raises FileNotFoundError when an earlier stage is missing, RuntimeError when a worker fails.
    """
    run = Run(plan, state, hours)
    first = plan.growth[0][0]
    if stage == "run":
        run.everything()
        if output is not None and samples_seen(state):
            export(plan, state, output)
    elif stage in ("data", "latents"):
        getattr(run, stage)(pictures or first)
    elif stage in ("tokenizer", "vae", "unet"):
        getattr(run, stage)()
    elif stage == "adopt":
        assert model is not None
        adopt(plan, state, model)
    elif stage == "judge":
        judge(plan, state, side=side, guidance=guidance)
    elif stage == "samples":
        save_samples(load_denoiser(plan, state), plan, state, output or state / "samples.png")
    elif stage == "export":
        assert output is not None
        export(plan, state, output)
    else:
        raise ValueError(f"The training has no stage called {stage!r}.")
