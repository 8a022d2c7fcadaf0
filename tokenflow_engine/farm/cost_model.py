"""What a job costs: seconds of each step and bytes on shared storage, from figures of one frame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from ..client.errors import TokenFlowError
from ..client.job_folder import JobFolder


@dataclass(frozen=True)
class StepTimes:
    """Measured seconds on one worker.

    extract, invert, edit: of each frame; edit holds correspondence, joint edit and decoding.
    assemble: of each edit. blender_start, engine_start: once for each Blender task, and once for
    each worker with its first engine task, model loaded.
    """

    extract: float
    invert: float
    edit: float
    assemble: float
    blender_start: float
    engine_start: float
    measured_on: str = ""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StepTimes:
        """Raises TokenFlowError, code "bad_request", for other fields than these."""
        try:
            numbers = {
                f.name: float(values[f.name]) for f in fields(cls) if f.name != "measured_on"
            }
        except (KeyError, TypeError, ValueError) as error:
            raise TokenFlowError(
                "bad_request",
                "The file holds no step times.",
                "Give one that `tokenflow farm simulate --job` wrote.",
                repr(error),
            ) from error
        return cls(**numbers, measured_on=str(values.get("measured_on", "")))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Footage:
    """Shots of one length each. chunk: frames of a batch; batches_per_task: of an inversion."""

    shots: int
    frames_per_shot: int
    chunk: int = 8
    batches_per_task: int = 8

    @property
    def frames(self) -> int:
        return self.shots * self.frames_per_shot


def measured(folder: JobFolder, where: str) -> StepTimes:
    """The times of a finished job, out of its report and the engine's own timings.

    Raises:
        TokenFlowError: code "bad_request", where the job has not finished.
    """
    try:
        report = json.loads((folder.root / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TokenFlowError(
            "bad_request",
            f'There is no report in "{folder.root}".',
            "Name the folder of a job that `tokenflow farm run` has finished.",
            str(error),
        ) from error
    extracts = _stamps(folder, "extract-*")
    inversions = _stamps(folder, "invert-*")
    edits = _stamps(folder, "render-*")
    assembled = _stamps(folder, "assemble")
    if not (report["succeeded"] and extracts and inversions and edits and assembled):
        raise TokenFlowError(
            "bad_request", "The job did not finish.", "Run it to its end, then measure."
        )
    inverted = [(s["seconds"]["invert"], _length(name)) for name, s in inversions.items()]
    rendered = list(edits.values())
    phases = ("correspond", "edit", "decode")
    blender_tasks = [t for t in report["tasks"] if t["step"] == "Extract"]
    in_blender = fmean(t["ended"] - t["started"] for t in blender_tasks)
    engine_tasks = [t for t in report["tasks"] if t["step"] == "Invert"]
    slowest = max(t["ended"] - t["started"] for t in engine_tasks)
    return StepTimes(
        extract=_rate([(s["seconds"], s["frame_count"]) for s in extracts.values()]),
        invert=_rate(inverted),
        edit=_rate([(sum(s["seconds"][p] for p in phases), s["frame_count"]) for s in rendered]),
        assemble=assembled["assemble"]["seconds"] / len(rendered),
        blender_start=max(0.0, in_blender - fmean(s["seconds"] for s in extracts.values())),
        engine_start=max(0.0, slowest - fmean(seconds for seconds, _frames in inverted)),
        measured_on=where,
    )


def storage_bytes(
    size: tuple[int, int], steps: int, feature_steps: int, channels: int, tokens: int
) -> dict[str, float]:
    """Bytes of one frame on shared storage, uncompressed.

    size: (width, height). steps: of inversion and edit. feature_steps: of Plug-and-Play.
    channels: of the features that it injects, 16 times fewer cells than the latents.
    tokens: of all self-attention layers together.
    """
    cells = size[0] * size[1] // 64
    latents = 4 * cells * 4 * (steps + 1)
    return {
        "pictures, source and edit": 2 * 3 * size[0] * size[1],
        "inversion, whole": latents,
        "inversion, parts": latents,
        "correspondence": tokens * 2 * 2 * steps,
        "injected features": channels * (cells // 16) * 2 * feature_steps,
    }


def _stamps(folder: JobFolder, pattern: str) -> dict[str, dict[str, Any]]:
    found = {}
    for file in sorted((folder.root / "done").glob(f"{pattern}.json")):
        stamp = folder.stamp(file.stem)
        if stamp is not None:
            found[file.stem] = stamp["outputs"]
    return found


def _length(step: str) -> int:
    """Frames of "invert-NAME-FIRST-END"."""
    first, end = step.split("-")[-2:]
    return int(end) - int(first)


def _rate(pairs: Sequence[tuple[float, int]]) -> float:
    """Seconds of one frame."""
    return sum(seconds for seconds, _frames in pairs) / sum(frames for _seconds, frames in pairs)
