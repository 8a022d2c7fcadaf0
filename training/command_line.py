"""`python -m training ...`: each stage by itself, or the whole sequence from where it stopped."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from .plan import Plan
from .state import default_state, locked

WRITING = ("run", "adopt", "tokenizer", "data", "vae", "latents", "unet")
"""Stages of which only one may be at work in a folder."""
READING = ("samples", "judge", "export")
"""Stages that look at a run, also while it goes on."""


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m training",
        description="Train the embedded model. Any stage may be killed and started again.",
    )
    arguments.add_argument(
        "stage", choices=WRITING + READING, help="run: all that is left, in order"
    )
    arguments.add_argument(
        "--state", type=Path, default=default_state(), help="folder of the run (%(default)s)"
    )
    arguments.add_argument(
        "--hours", type=float, default=24.0, help="pause after so long (%(default)s)"
    )
    arguments.add_argument(
        "--until", type=int, help="end the UNet's training at so many samples (the plan's end)"
    )
    arguments.add_argument(
        "--pictures", type=int, help="data, latents: how many pictures (the plan's number)"
    )
    arguments.add_argument(
        "--output",
        type=Path,
        help="export (and run, at its end): the folder to write; samples: the picture",
    )
    arguments.add_argument(
        "--model", type=Path, help="adopt: an exported model to go on from, in an empty state"
    )
    arguments.add_argument(
        "--side", type=int, help="judge: pixels of the pictures (the plan's size)"
    )
    arguments.add_argument(
        "--guidance", type=float, default=5.0, help="judge: guidance scale (%(default)s)"
    )
    arguments.add_argument(
        "--nice", type=int, default=19, help="priority, 19 is the lowest (%(default)s)"
    )
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Runs one stage or all; returns the exit code."""
    options = parser().parse_args(argv)
    if options.stage == "export" and options.output is None:
        parser().error("export needs --output")
    if options.stage == "adopt" and options.model is None:
        parser().error("adopt needs --model")
    os.nice(options.nice)
    from .stages import run_stage

    try:
        with locked(options.state) if options.stage in WRITING else nullcontext():
            run_stage(
                options.stage,
                Plan() if options.until is None else Plan().ended_at(options.until),
                options.state,
                hours=options.hours,
                pictures=options.pictures,
                output=options.output,
                model=options.model,
                side=options.side,
                guidance=options.guidance,
            )
    except BlockingIOError:
        print(f"Another training run is at work in {options.state}.", file=sys.stderr)
        return 1
    except (FileExistsError, FileNotFoundError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
