"""`tokenflow doctor`: what this installation has, what it lacks, and how to mend it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from ..client.errors import TokenFlowError
from ..client.findings import Finding
from ..client.spoken import spoken_bytes
from ..media import ffmpeg
from .messages import end_with_owner, say_done, say_progress

PACKAGE = Path(__file__).resolve().parents[1]
LOCK = PACKAGE.parent / "requirements" / "engine.lock"
PYTHONS = ((3, 11), (3, 13), (3, 12))
"""The version that the lock file was resolved for, then those that it suits as well."""

SET_UP_AGAIN = (
    "Make the engine's environment again: python3 run.py setup."
    if (PACKAGE.parent / "run.py").is_file()
    else "Install the engine again in the add-on's preferences."
)
INSTALL = "install_engine"
COMFORTABLE_CACHE = 5 * 10**9
"""Bytes; the phases' results of a minute of video at 512 pixels fill about this much."""


def run(arguments: list[str]) -> int:
    """Check everything and print a line for each finding; 1 if any of them failed, else 0."""
    parser = argparse.ArgumentParser(prog="tokenflow doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--messages", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    as_json = given.json or given.messages
    if given.messages:
        end_with_owner()
    findings = []
    for number, (name, check) in enumerate(CHECKS.items()):
        if given.messages:
            say_progress(name, number, len(CHECKS))
        found = examine(name, check)
        findings += found
        if not as_json:
            for finding in found:
                print(spoken(finding), flush=True)
    failed = any(finding.status == "FAIL" for finding in findings)
    if given.messages:
        say_done(findings=[asdict(f) for f in findings], devices=devices_with_memory())
        return 0
    if as_json:
        print(json.dumps({"ok": not failed, "findings": [asdict(f) for f in findings]}, indent=1))
    elif failed:
        print("Edits will not work before what failed is mended.")
    else:
        print("Ready to edit.")
    return int(failed)


def spoken(finding: Finding) -> str:
    """For example "OK    ffmpeg: version 9.0.2"; a remedy follows on a line of its own."""
    line = f"{finding.status:<5} {finding.check}: {finding.message}"
    return f"{line}\n      -> {finding.remedy}" if finding.remedy else line


def examine(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """A check's findings; one that breaks is itself a finding."""
    try:
        return check()
    except TokenFlowError as error:
        return [Finding(name, "FAIL", error.message, error.remedy)]
    except Exception as error:
        return [Finding(name, "FAIL", f"{type(error).__name__}: {error}", SET_UP_AGAIN, INSTALL)]


def check_python() -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in PYTHONS:
        return [Finding("Python", "OK", f"{version} at {sys.executable}")]
    wanted = ".".join(map(str, PYTHONS[0]))
    return [Finding("Python", "WARN", f"{version}; tested with {wanted}", SET_UP_AGAIN, INSTALL)]


def check_packages(lock: Path = LOCK) -> list[Finding]:
    """Every pinned package against what is installed."""
    if not lock.is_file():
        torch = importlib.metadata.version("torch")
        return [Finding("Packages", "OK", f"torch {torch}; there is no lock file to compare with")]
    pins = read_pins(lock.read_text(encoding="utf-8"))
    findings = []
    for name, wanted in pins.items():
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            message = f"{name} {wanted} is not installed"
            findings.append(Finding("Packages", "FAIL", message, SET_UP_AGAIN, INSTALL))
            continue
        # "2.13.0+cpu" is one build of 2.13.0.
        if there.partition("+")[0] != wanted:
            message = f"{name} is {there} instead of {wanted}"
            findings.append(Finding("Packages", "WARN", message, SET_UP_AGAIN, INSTALL))
    shown = ", ".join(f"{n} {pins[n]}" for n in ("torch", "diffusers", "transformers") if n in pins)
    return findings or [Finding("Packages", "OK", f"all {len(pins)} as locked ({shown})")]


def read_pins(lock: str) -> dict[str, str]:
    """Versions by name; lines for one platform only are left out."""
    lines = [line for line in lock.splitlines() if "==" in line and ";" not in line]
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def check_devices() -> list[Finding]:
    from ..service.capabilities import find_devices

    findings = []
    for device in find_devices():
        if device["id"] == "cpu":
            cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
            memory = spoken_bytes(psutil.virtual_memory().available)
            what = f"cpu, {cores} cores, {memory} of memory free"
        else:
            memory = f", {device['memory_mb']} MiB" if device["memory_mb"] else ""
            what = f"{device['id']}, {device['name']}{memory}"
        findings.append(Finding("Device", "OK", what))
    if len(findings) == 1 and shutil.which("nvidia-smi"):
        findings.append(
            Finding(
                "Device",
                "WARN",
                "there is an NVIDIA driver, but this build of torch cannot use it",
                "Install the engine's build for NVIDIA GPUs; where pip's index has none, name an "
                "index of PyTorch's in the preferences.",
                INSTALL,
            )
        )
    return findings


def devices_with_memory() -> list[dict[str, Any]]:
    """As `service.capabilities` has them, with the processor's memory; empty without torch."""
    try:
        from ..service.capabilities import find_devices

        devices = find_devices()
    except Exception:
        return []
    memory = psutil.virtual_memory().total >> 20
    return [d if d["memory_mb"] else {**d, "memory_mb": memory} for d in devices]


def check_embedded_model() -> list[Finding]:
    import torch

    from ..diffusion.model import load_model

    model = load_model("embedded", torch.device("cpu"), torch.float32)
    parameters = sum(p.numel() for p in model.unet.parameters()) / 1e6
    message = f"loads; UNet of {parameters:.1f} million parameters, {model.native_size} pixels"
    return [Finding("Embedded model", "OK", message)]


def check_ffmpeg() -> list[Finding]:
    status, out, said = ffmpeg.run(["-version"])
    version = out.decode(errors="replace").partition("\n")[0].removeprefix("ffmpeg version ")
    if status:
        return [Finding("ffmpeg", "FAIL", f"does not run: {said.strip()}", SET_UP_AGAIN, INSTALL)]
    _, out, _ = ffmpeg.run(["-encoders"])
    if b" libx264 " not in out:
        remedy = "Unset IMAGEIO_FFMPEG_EXE, or let it name an ffmpeg with libx264."
        return [Finding("ffmpeg", "WARN", "cannot write H.264 movies", remedy)]
    return [Finding("ffmpeg", "OK", f"version {version.split(' ')[0]}")]


def check_cache() -> list[Finding]:
    from ..phases.cache import cache_root

    root = cache_root()
    elsewhere = "Choose a cache folder on another disk (TOKENFLOW_CACHE, or the preferences)."
    try:
        root.mkdir(parents=True, exist_ok=True)
        trial = root / f".doctor-{uuid.uuid4().hex[:8]}"
        trial.write_bytes(b"x")
        trial.unlink()
    except OSError as error:
        return [
            Finding(
                "Cache",
                "FAIL",
                f"{root} cannot be written ({error.strerror})",
                elsewhere,
                "choose_folders",
            )
        ]
    used = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    free = shutil.disk_usage(root).free
    message = f"{root}, {spoken_bytes(used)} used, {spoken_bytes(free)} free"
    if free < COMFORTABLE_CACHE:
        return [Finding("Cache", "WARN", message, f"Free some space. {elsewhere}", "clear_cache")]
    return [Finding("Cache", "OK", message)]


CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "Python": check_python,
    "Packages": check_packages,
    "Device": check_devices,
    "Embedded model": check_embedded_model,
    "ffmpeg": check_ffmpeg,
    "Cache": check_cache,
}
"""In the order of the report."""
