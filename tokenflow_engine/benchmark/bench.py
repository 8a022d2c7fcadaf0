"""`tokenflow bench`: everything that is measured, in one run on one machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from ..diffusion.model import choose_device, choose_dtype, load_model
from . import memory
from .compiling import measure_compiling
from .loop_rate import LoopRate, LoopSize, measure_loop, synthetic_run
from .loops import compare_loops
from .plain_way import PlainTimes, time_plain_way
from .processes import measure_processes
from .random_models import random_sd15
from .reconstruction import PLAIN, measure_reconstruction
from .seams import FRAMES as SEAMS_FRAMES
from .seams import WAYS, measure_seams
from .whole_edits import WholeEdits, time_whole_edits

EQUAL_PSNR = 0.1
"""dB by which a reconstruction may lie below another's and count as equal."""

ROWS = (50, 25)
"""Steps of the whole edits that are timed in any case: the released code's, and half as many."""

LEAST_STEPS = 16
"""Fewest steps that the released code is compared with. Fewer reconstruct as well, but what edits
of so few denoising steps look like is known of 16 (docs/evaluation.md); 12 are a draft's."""

UNMEASURED_STEPS = 16
"""Steps taken for those of equal reconstruction by a run that does not measure it, as it was found
by the embedded model in docs/performance."""

BARS = {
    "rate_ratio": (">=", 0.9),
    "rate_ratio_embedded": (">=", 0.8),
    "end_to_end_ratio": (">=", 10.0),
    "edit_loop_ratio": (">=", 1.5),
    "second_prompt_ratio": ("<=", 0.5),
    "memory_growth_40_to_1000": ("<", 0.1),
    "reconstruction_gap_50_to_500": ("<=", EQUAL_PSNR),
}
"""What each figure is held to."""


@dataclass(frozen=True)
class BenchSettings:
    """What is measured, and how large.

    parts: names out of `PARTS`. frames, size: of the embedded model's edits. clips: of the
    reconstruction. sd_frames, sd_size: of the loop with the full-size UNet. lengths: frames of the
    clips whose memory is compared.
    """

    parts: tuple[str, ...]
    device: str = "auto"
    frames: int = 16
    size: int = 192
    clips: int = 3
    sd_frames: int = 4
    sd_size: int = 512
    lengths: tuple[int, ...] = (memory.SHORT, memory.LONG)


@dataclass
class Bench:
    """Figures by name, and what was measured beside each.

    equal_steps: the fewest steps from `LEAST_STEPS` on that reconstruct as well as the released
        code's; None where that
        was not measured, or no number of steps did.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    figures: dict[str, float] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    equal_steps: int | None = None

    def add(self, name: str, value: float, beside: Any) -> None:
        self.figures[name] = round(value, 4)
        self.measured[name] = beside

    def to_json(self) -> dict[str, Any]:
        bars = {name: f"{sign} {bar:g}" for name, (sign, bar) in BARS.items()}
        return {
            **self.figures,
            "bars": bars,
            "measured": self.measured,
            "machine": self.machine,
            "settings": self.settings,
        }


Tell = Callable[[str], None]


def run_bench(
    settings: BenchSettings, folder: Path, tell: Tell, after_part: Callable[[Bench], None]
) -> Bench:
    """Measure the parts that were asked for; `folder` is for files that are thrown away.

    after_part: called with what is known after each, so that a run that is ended early leaves that.
    """
    device = choose_device(settings.device)
    bench = Bench(machine_facts(device), {**vars(settings), "parts": list(settings.parts)})
    for part in settings.parts:
        PARTS[part](bench, settings, device, folder / part, tell)
        after_part(bench)
    return bench


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What a reader needs to judge the figures by; nothing that names the machine."""
    facts = {
        "device": device.type,
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_average": round(psutil.getloadavg()[0], 2),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _reconstruction(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    model = load_model("embedded", device, choose_dtype("auto", device))
    found = measure_reconstruction(model, settings.clips, model.native_size, tell)
    gap = found.psnr(*PLAIN) - found.psnr("implicit", 50)
    bench.add("reconstruction_gap_50_to_500", gap, found.to_json())
    bench.equal_steps = found.fewest_steps("implicit", EQUAL_PSNR, LEAST_STEPS)


def _embedded_rate(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    tell("edit loop and bare UNet, embedded model")
    model = load_model("embedded", device, choose_dtype("auto", device))
    size = LoopSize(settings.frames, chunk=8, steps=5, size=settings.size, repeats=3)
    _add_rate(bench, "rate_ratio_embedded", measure_loop(model, size, folder))


def _sd_rate(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    tell(f"edit loop and bare UNet, Stable Diffusion 1.5's size, {settings.sd_size} pixels")
    model = random_sd15(device, choose_dtype("auto", device))
    on_cpu = device.type == "cpu"
    frames = settings.sd_frames
    size = LoopSize(frames, frames // 2, 1, settings.sd_size) if on_cpu else _accelerated(settings)
    _add_rate(bench, "rate_ratio", measure_loop(model, size, folder))


def _accelerated(settings: BenchSettings) -> LoopSize:
    return LoopSize(max(40, settings.sd_frames), 8, 5, settings.sd_size, repeats=2)


def _add_rate(bench: Bench, name: str, rate: LoopRate) -> None:
    bench.add(name, rate.ratio(), rate.to_json())


def _loops(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    tell(f"edit loop and the released code's way of it, {settings.sd_size} pixels")
    model = load_model("embedded", device, choose_dtype("auto", device))
    size = LoopSize(2 * settings.sd_frames, settings.sd_frames, 10, settings.sd_size)
    ratio, beside = compare_loops(model, size, folder)
    bench.add("edit_loop_ratio", ratio, beside)


def _edits(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    known = "reconstruction_gap_50_to_500" in bench.figures
    equal = bench.equal_steps or (max(ROWS) if known else UNMEASURED_STEPS)
    bench.add("end_to_end_steps", equal, {"measured": known, "equal": bool(bench.equal_steps)})
    plain: PlainTimes | None = None
    rows: list[dict[str, Any]] = []
    for count in sorted({*ROWS, equal}, reverse=True):
        tell(f"first and second prompt, {count}+{count} steps")
        place = folder / f"steps{count}"
        whole = time_whole_edits(place, settings.frames, settings.size, count, settings.device)
        if plain is None:
            tell("the released code's way, a sample of its steps")
            plain = time_plain_way(whole.run)
            _add_loops(bench, whole, plain)
            bench.add("second_prompt_ratio", whole.second_prompt_ratio, whole.to_json())
        phases = whole.results[0].seconds
        both = phases["prepare"] + phases["decode"]
        ratio = (plain.total.wall + both) / whole.seconds[0].wall
        rows.append({"ratio": round(ratio, 3), **whole.to_json()})
        if count == equal:
            bench.add("end_to_end_ratio", ratio, {"plain": plain.to_json(), "edits": rows})


def _add_loops(bench: Bench, whole: WholeEdits, plain: PlainTimes) -> None:
    """Both loops of the same clip, steps, branches and chunk, the source's part in each."""
    phases = whole.results[0].seconds
    own = phases["correspond"] + phases["edit"]
    theirs = plain.edit_step.wall * whole.run.request.steps
    beside = {"seconds": round(own, 3), "plain_seconds": round(theirs, 3), "steps": 50}
    bench.add("edit_loop_ratio_small", theirs / own, beside)


def _processes(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    tell("one edit by one process and by several")
    cores = torch.cuda.device_count() if device.type == "cuda" else os.cpu_count() or 1
    counts = [count for count in (1, 2, 4, 8) if count <= max(2, cores)]
    found = measure_processes(folder, counts, settings.device)
    bench.add("two_processes_speed_up", found["runs"][1]["speed_up"], found)


def _compiling(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    on_cpu = device.type == "cpu"
    tell("the UNet's blocks compiled")
    dtype = choose_dtype("auto", device)
    model = load_model("embedded", device, dtype) if on_cpu else random_sd15(device, dtype)
    size = LoopSize(settings.frames, 8, 1, settings.size if on_cpu else settings.sd_size)
    found = measure_compiling(synthetic_run(model, size, folder))
    bench.add("compiling_saved", found["saved"], found)


def _memory(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    found = memory.memory_growth(settings.lengths, tell)
    bench.add("memory_growth_40_to_1000", found["memory_growth_40_to_1000"], found)


def _seams(
    bench: Bench, settings: BenchSettings, device: torch.device, folder: Path, tell: Tell
) -> None:
    tell("borders of windows")
    rows = measure_seams(SEAMS_FRAMES, folder)
    # Beside its control: what the same edit without windows shows at the same places.
    by_way = {row["way"]: row for row in rows}
    whole, ours = (by_way[way]["first_step"]["deviation"] for way in list(WAYS)[:2])
    bench.add("seam_deviations", ours - whole, {"frames": SEAMS_FRAMES, "rows": rows})


Part = Callable[[Bench, BenchSettings, torch.device, Path, Tell], None]

PARTS: dict[str, Part] = {
    "reconstruction": _reconstruction,
    "embedded": _embedded_rate,
    "edits": _edits,
    "loops": _loops,
    "processes": _processes,
    "sd": _sd_rate,
    "compiling": _compiling,
    "seams": _seams,
    "memory": _memory,
}
"""In the order they run; `edits` knows the steps of equal fidelity only after `reconstruction`."""
