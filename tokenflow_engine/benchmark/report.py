"""The benchmark's files: JSON, plots, and a page in Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..media.staging import full_disk_explained
from . import memory, seams
from .bench import BARS, EQUAL_PSNR, LEAST_STEPS, Bench
from .plots import line_chart
from .reconstruction import PLAIN

JSON, PAGE = "performance.json", "performance.md"
RECONSTRUCTION_PLOT = "reconstruction.svg"
PROCESSES_PLOT = "processes.svg"
MEMORY_PLOT = "memory.svg"

MEANINGS = {
    "rate_ratio": "edit loop's operations a second over the bare UNet's, full size",
    "rate_ratio_embedded": "the same with the embedded model",
    "end_to_end_ratio": "released defaults' time over ours, first prompt, equal reconstruction",
    "end_to_end_steps": "steps of our inversion in it, and as many of our edit",
    "edit_loop_ratio": "the plain way's edit loop over ours, with the tokens of 512x512 pixels",
    "edit_loop_ratio_small": "the same at the embedded model's own size",
    "second_prompt_ratio": "second prompt's time over the first's",
    "memory_growth_40_to_1000": "growth of peak memory from 40 to 1000 frames",
    "compiling_saved": "share of the UNet's time that compiling saves",
    "seam_deviations": "standard deviations by which windows' borders stand out more than without",
    "two_processes_speed_up": "speed-up by a second process with a core of its own",
    "reconstruction_gap_50_to_500": "dB that 50 steps lie below 500 of plain DDIM",
}


def write_report(bench: Bench, folder: Path) -> None:
    """Write everything that was measured into `folder`, which is made if missing.

    Raises:
        TokenFlowError: code "no_space", when the disk is full.
    """
    with full_disk_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files(bench).items():
            (folder / name).write_text(text, encoding="utf-8")


def files(bench: Bench) -> dict[str, str]:
    """Names and contents."""
    found = {JSON: json.dumps(bench.to_json(), indent=1) + "\n"}
    if measured := bench.measured.get("reconstruction_gap_50_to_500"):
        found[RECONSTRUCTION_PLOT] = reconstruction_plot(measured)
    if measured := bench.measured.get("two_processes_speed_up"):
        found[PROCESSES_PLOT] = processes_plot(measured)
    if measured := bench.measured.get("memory_growth_40_to_1000"):
        found[MEMORY_PLOT] = memory.plot(measured)
    found[PAGE] = "\n".join(page(bench)) + "\n"
    return found


def reconstruction_plot(measured: dict[str, Any]) -> str:
    """PSNR over UNet calls, a line for each solver."""
    series: dict[str, list[tuple[float, float]]] = {}
    for point in measured["points"]:
        series.setdefault(point["solver"], []).append((point["calls"], point["psnr"]))
        if point["own_psnr"] != point["psnr"]:
            own = f"{point['solver']}, own sampler"
            series.setdefault(own, []).append((point["calls"], point["own_psnr"]))
    return line_chart(
        series,
        "UNet calls of the inversion for each frame",
        "reconstruction (dB)",
        log_across=True,
        level=("autoencoder alone", measured["roundtrip_psnr"]),
    )


def processes_plot(measured: dict[str, Any]) -> str:
    """Speed-up over processes, beside the one that none could beat."""
    runs = measured["runs"]
    return line_chart(
        {
            "measured": [(run["processes"], run["speed_up"]) for run in runs],
            "as many times as fast": [(run["processes"], run["processes"]) for run in runs],
        },
        "processes",
        "speed-up",
        from_zero=True,
    )


def table(bench: Bench) -> Iterator[str]:
    """Rows of Markdown: each figure beside its bar."""
    yield "| figure | measured | bar | |"
    yield "|---|---|---|---|"
    for name, meaning in MEANINGS.items():
        if name in bench.figures:
            value = bench.figures[name]
            said = "| | |"
            if name in BARS:
                sign, bar = BARS[name]
                verdict = "met" if meets(value, sign, bar) else "**missed**"
                said = f"| {sign} {bar:g} | {verdict} |"
            yield f"| {meaning} (`{name}`) | {value:.3g} {said}"


def meets(value: float, sign: str, bar: float) -> bool:
    """Whether a figure stands on its bar's right side; never for one that is no number."""
    if math.isnan(value):
        return False
    return {">=": value >= bar, "<=": value <= bar, "<": value < bar}[sign]


def page(bench: Bench) -> Iterator[str]:
    machine, measured = bench.machine, bench.measured
    yield "# Performance"
    yield ""
    yield "Made by `python3 run.py tokenflow bench --output docs/performance`, in one run"
    gpu = machine.get("gpu")
    yield f"on {gpu or str(machine['cores']) + ' CPU cores'} (torch {machine['torch']}, load "
    yield f"before the run {machine['load_average']}). All figures with what is behind them are in"
    yield f"[{JSON}]({JSON})."
    if not gpu:
        yield ""
        yield "**No figure here was measured on a GPU.** There the engine runs in half precision,"
        yield "with channels last and PyTorch's own attention kernels; nothing is claimed about it."
    yield ""
    yield from table(bench)
    if reconstruction := measured.get("reconstruction_gap_50_to_500"):
        yield from _reconstruction(reconstruction)
    for name, title in (
        ("rate_ratio", "Edit loop and bare UNet, Stable Diffusion 1.5's size"),
        ("rate_ratio_embedded", "Edit loop and bare UNet, embedded model"),
    ):
        if name in measured:
            yield from _rate(title, measured[name])
    if "end_to_end_ratio" in measured:
        yield from _edits(measured["end_to_end_ratio"], bench)
    if "edit_loop_ratio" in measured:
        yield from _loops(measured["edit_loop_ratio"])
    if "two_processes_speed_up" in measured:
        yield from _processes(measured["two_processes_speed_up"])
    if "compiling_saved" in measured:
        yield from _compiling(measured["compiling_saved"])
    if "seam_deviations" in measured:
        yield from _seams(measured["seam_deviations"])
    if "memory_growth_40_to_1000" in measured:
        yield from _memory(measured["memory_growth_40_to_1000"])


def _reconstruction(measured: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "## Inversion: fidelity for UNet calls"
    yield ""
    yield f"A frame out of each of {measured['clips']} clips of the toy world, inverted and "
    yield "sampled back by DDIM on the same timesteps, as the edit samples. The autoencoder alone: "
    yield f"{measured['roundtrip_psnr']:.2f} dB."
    yield ""
    yield f"![PSNR over UNet calls]({RECONSTRUCTION_PLOT})"
    yield ""
    yield "| solver | steps | UNet calls for each frame | sampled by DDIM | by its own sampler |"
    yield "|---|---|---|---|---|"
    for point in measured["points"]:
        yield (
            f"| {point['solver']} | {point['steps']} | {point['calls']} | "
            f"{point['psnr']:.2f} dB | {point['own_psnr']:.2f} dB |"
        )


def _rate(title: str, measured: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield f"{measured['frames']} frames of {measured['size']}x{measured['size']} pixels, chunks of "
    yield f"{measured['chunk']}, {measured['steps']} denoising step(s), mean of "
    yield f"{measured['repeats']} run(s); UNet calls by batch size: {measured['calls_by_batch']}."
    yield ""
    yield "| | operations | seconds | GFLOP/s |"
    yield "|---|---|---|---|"
    yield (
        f"| edit loop | {measured['gflop']:.0f} G | {measured['seconds']['wall']:.2f} | "
        f"{measured['gflop_per_second']:.1f} |"
    )
    yield (
        f"| bare UNet, same batches | {measured['bare_gflop']:.0f} G | "
        f"{measured['bare_seconds']['wall']:.2f} | {measured['bare_gflop_per_second']:.1f} |"
    )
    yield ""
    yield f"Ratio {measured['ratio_by_wall_clock']:.3f} by the clock, "
    yield f"{measured['ratio_by_processor_time']:.3f} by processor time. Seconds by phase: "
    phases = measured["seconds_by_phase"].items()
    yield ", ".join(f"{name} {seconds['wall']:.2f}" for name, seconds in phases) + "."


def _edits(measured: dict[str, Any], bench: Bench) -> Iterator[str]:
    plain, steps = measured["plain"], int(bench.figures["end_to_end_steps"])
    yield ""
    yield "## Whole edits, embedded model"
    yield ""
    yield f"The released code's way takes {plain['seconds']['wall']:.0f} s: "
    yield f"{plain['inversion_steps']} inversion steps and as many back at "
    yield f"{plain['inversion_step_seconds']['wall']:.2f} s, {plain['edit_steps']} edit steps at "
    yield f"{plain['edit_step_seconds']['wall']:.2f} s ({plain['timed']})."
    yield ""
    yield from _reason(steps, bench.measured["end_to_end_steps"])
    yield "The inversion's time holds the sampling back of four frames, which measures the"
    yield "reconstruction; the released code's holds that of all frames."
    yield ""
    yield "| steps | first prompt | by phase | second prompt | reconstruction | plain / first |"
    yield "|---|---|---|---|---|---|"
    for edits in measured["edits"]:
        words = "(`end_to_end_ratio`) " if edits["steps"] == steps else ""
        first, second = edits["prompts"]
        phases = ", ".join(f"{name} {time:.1f}" for name, time in first["seconds_by_phase"].items())
        yield (
            f"| {edits['steps']}+{edits['inversion_steps']} {words}| "
            f"{first['seconds']['wall']:.1f} s | {phases} | {second['seconds']['wall']:.1f} s | "
            f"{first['reconstruction_psnr']:.2f} dB | {edits['ratio']:.1f} |"
        )


def _reason(steps: int, chosen: dict[str, bool]) -> Iterator[str]:
    """Why the released defaults are compared with that many steps, and what it means."""
    if not chosen["measured"]:
        yield f"Reconstruction was not measured in this run: {steps} steps are what"
        yield "`UNMEASURED_STEPS` of benchmark/bench.py says, from an earlier one."
    elif chosen["equal"]:
        yield f"{steps} steps are the fewest of those above, from {LEAST_STEPS} on, whose"
        yield f"reconstruction lies at most {EQUAL_PSNR:g} dB below that of {PLAIN[1]} steps of"
        yield "plain DDIM."
    else:
        yield "**No number of steps above reconstructs as well as the released defaults**: the"
        yield f"ratio is that of {steps} steps all the same."
    yield "Fewer steps are an edit of fewer denoising steps too, not an inversion alone;"
    yield "[the evaluation](../evaluation.md) measures edits at 16 steps."


def _loops(measured: dict[str, Any]) -> Iterator[str]:
    ours, plain = measured["step_seconds"], measured["plain_step_seconds"]
    yield ""
    yield "## Edit loop and the released code's way of it"
    yield ""
    yield f"{measured['frames']} frames of {measured['size']}x{measured['size']} pixels, chunks of "
    yield f"{measured['chunk']}, embedded model, random latents. A step with correspondences takes "
    yield f"{ours['wall']:.1f} s, the plain way's (explicit softmax for each head, the full matrix "
    yield f"of similarities) {plain['wall']:.1f} s; by processor time the ratio is "
    yield f"{measured['ratio_by_processor_time']:.2f}."


def _processes(measured: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "## Several processes at one edit"
    yield ""
    yield f"{measured['frames']} frames of {measured['size']}x{measured['size']} pixels, "
    yield f"{measured['steps']}+{measured['steps']} steps, chunks of {measured['chunk']}; a thread "
    yield f"for each process on {measured['cores']} cores. Their pictures are equal bit for bit."
    yield ""
    yield f"![speed-up over processes]({PROCESSES_PLOT})"
    yield ""
    yield "| processes | seconds in the UNet's phases | speed-up | whole edit |"
    yield "|---|---|---|---|"
    for run in measured["runs"]:
        yield (
            f"| {run['processes']} | {run['seconds_in_unet']:.1f} | {run['speed_up']:.2f} | "
            f"{run['seconds']:.1f} s |"
        )


def _compiling(measured: dict[str, Any]) -> Iterator[str]:
    first, again = measured["compiling_seconds"], measured["compiling_seconds_kept"]
    assumed = measured["assumed"]
    yield ""
    yield "## The UNet's blocks compiled"
    yield ""
    yield f"Calls of {measured['chunk']} frames of {measured['size'][0]} pixels a side. Compiling "
    yield f"takes {first['wall']:.0f} s, and {again['wall']:.0f} s where the compiler finds what it"
    yield f"has kept; then a frame takes {1000 * measured['seconds_per_frame_compiled']:.1f} ms "
    yield f"instead of {1000 * measured['seconds_per_frame']:.1f}. An edit on a GPU is compiled if "
    yield f"{assumed['saved']:.0%} of its time in the UNet is more than "
    yield f"{assumed['compiling_seconds']:.0f} s, unless a trial there shows that it saves nothing."


def _seams(measured: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "## Borders of windows"
    yield ""
    yield f"{measured['frames']} frames of {seams.SIZE}x{seams.SIZE} pixels, {seams.STEPS} steps, "
    yield f"a keyframe for every {seams.CHUNK} frames. Frame-to-frame change of the edit in shares "
    yield "of the source's, for pairs at borders and for all others; *chance* that a pair "
    yield "at a border changes more than another (0.5 where they can't be told apart), and how far "
    yield "that is from 0.5 in standard deviations of mere chance."
    yield ""
    yield from seams.table(measured["rows"])


def _memory(measured: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "## Memory over length"
    yield ""
    width, height = measured["size"]
    yield f"Edits at {width}x{height} pixels and {measured['steps']} steps, each in a process "
    yield "of its own. Pages that files back are the system's to take back whenever it likes."
    yield ""
    yield f"![memory over frames]({MEMORY_PLOT})"
    yield ""
    yield "| frames | own memory at its highest | of it, above the loaded engine | processor time |"
    yield "|---|---|---|---|"
    for run in measured["runs"]:
        above = measured["over_loaded_mib"][str(run["frames"])]
        yield (
            f"| {run['frames']} | {run['anonymous_mib']:.0f} MiB | {above:.0f} MiB | "
            f"{run['processor_seconds']:.0f} s |"
        )
