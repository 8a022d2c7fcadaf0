"""The comparison: every clip, seed and method, under the same settings."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..client.edit_request import EditRequest
from ..client.errors import TokenFlowError
from ..evaluation.attributes import load_reader
from ..evaluation.metrics import Picture
from ..phases.cache import PhaseCache
from ..phases.invert import invert_source
from ..phases.meter import ProgressMeter
from ..phases.prepare import prepare
from ..phases.run import EditRun
from ..tokenflow.keyframes import draw_schedule
from .clips import EvaluationClip
from .ground_truth import GroundTruth, load_ground_truth
from .measure import Measure
from .methods import ALWAYS, METHODS, Trial
from .scoring import Judges, is_readable, mean_psnr, score
from .similarity import AttributeSimilarity, load_clip


@dataclass(frozen=True)
class Settings:
    """What all clips and methods share.

    template: an `EditRequest` whose source, prompts, output and seed each clip replaces.
    """

    template: EditRequest
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    tuning_steps: int = 100
    clip_model: Path | None = None


@dataclass(frozen=True)
class Record:
    """The scores of one clip, method and seed; NaN for what does not apply."""

    clip: str
    kind: str
    method: str
    seed: int
    scores: dict[str, float]


@dataclass(frozen=True)
class ClipOutcome:
    """One clip: a record for each method and seed, and each method's pictures of the first seed."""

    clip: EvaluationClip
    records: list[Record]
    truth: GroundTruth
    pictures: dict[str, list[Picture]]


def chosen_methods(names: Sequence[str] | None) -> tuple[str, ...]:
    """Methods in the order of the tables: those named, or all but the ablations, and always "copy"
    and "vae".

    Raises:
        TokenFlowError: code "bad_request", for a name that there is not.
    """
    for name in names or ():
        if name not in METHODS:
            raise TokenFlowError(
                "bad_request",
                f"There is no method {name!r}.",
                f"Choose from {', '.join(METHODS)}, or all.",
            )
    if names is None:
        names = [name for name, method in METHODS.items() if not method.ablation]
    return tuple(name for name in METHODS if name in (*names, *ALWAYS))


def load_judges(clips: Sequence[EvaluationClip], clip_model: Path | None) -> Judges:
    """The attribute classifier where a clip's edit is one it knows; CLIP where there is a folder.

    Raises:
        TokenFlowError: code "unknown_model", for a folder without a CLIP model.
    """
    reader = load_reader() if any(map(is_readable, clips)) else None
    if clip_model is not None:
        return Judges(reader, load_clip(clip_model))
    return Judges(reader, AttributeSimilarity(reader) if reader else None)


def evaluate_clip(
    clip: EvaluationClip,
    settings: Settings,
    judges: Judges,
    report: Callable[[str], None] = lambda line: None,
) -> ClipOutcome:
    """Edit one clip by every method and seed.

    report: told in a few words what was done.

    Raises:
        TokenFlowError: for a clip or model that can't be used.
    """
    request = replace(
        settings.template,
        source=str(clip.source),
        prompt=clip.target_prompt,
        source_prompt=clip.source_prompt,
    )
    with tempfile.TemporaryDirectory(prefix="tokenflow-evaluate-") as scratch:
        run = prepare(request.validated(any_words=True), ProgressMeter({}))
        run = replace(run, cache=PhaseCache(Path(scratch) / "source"))
        truth = load_ground_truth(clip, run.frame_count, run.size)
        with Measure(run.model.device) as inverting:
            inversion = invert_source(run)
        report(f"invert {inverting.seconds:.1f} s")
        records: list[Record] = []
        pictures: dict[str, list[Picture]] = {}
        for name in settings.methods:
            method = METHODS[name]
            # A method that draws nothing gives the same clip for every seed.
            for seed in settings.seeds if method.seeded else settings.seeds[:1]:
                with tempfile.TemporaryDirectory(dir=scratch) as own:
                    seeded = _with_seed(replace(run, cache=PhaseCache(Path(own))), seed)
                    trial = Trial(seeded, inversion, list(truth.source), settings.tuning_steps)
                    with Measure(run.model.device) as editing:
                        frames = method.edit(trial)
                seconds, peak = editing.seconds, editing.peak_memory_mb
                if method.inverts:
                    seconds += inverting.seconds
                    peak = max(peak, inverting.peak_memory_mb)
                scores = score(frames, clip, truth, judges)
                scores["reconstruction_psnr"] = (
                    inversion.reconstruction_psnr or math.nan
                    if method.inverts
                    else mean_psnr(frames, truth.source)
                )
                scores["seconds_per_frame"] = seconds / run.frame_count
                scores["peak_memory_mb"] = peak
                records.append(Record(clip.name, clip.kind, name, seed, scores))
                pictures.setdefault(name, frames)
                report(f"{name}, seed {seed}: {editing.seconds:.1f} s")
    return ClipOutcome(clip, with_excess(records), truth, pictures)


def with_excess(records: list[Record]) -> list[Record]:
    """The same records of one clip with the warp error over that of the VAE round trip."""
    floor = next((r.scores["warp_error"] for r in records if r.method == "vae"), math.nan)
    return [
        replace(r, scores=r.scores | {"warp_error_excess": r.scores["warp_error"] - floor})
        for r in records
    ]


def _with_seed(run: EditRun, seed: int) -> EditRun:
    schedule = draw_schedule(run.frame_count, run.request.chunk, len(run.plan.timesteps), seed)
    return replace(run, request=replace(run.request, seed=seed), keyframes=schedule)
