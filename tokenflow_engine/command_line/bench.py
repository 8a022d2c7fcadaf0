"""`tokenflow bench`: speed and memory beside the bare UNet and the released code's way."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..client.edit_request import DEVICES
from ..client.errors import TokenFlowError
from .edit import Parser
from .exit_code import exit_code_of

if TYPE_CHECKING:
    from ..benchmark.bench import Bench


def parser() -> argparse.ArgumentParser:
    parse = Parser(
        prog="tokenflow bench",
        description="Measure this machine: about twenty minutes on two CPU cores.",
        allow_abbrev=False,
    )
    option = parse.add_argument
    option("--output", metavar="DIR", type=Path, help="folder for performance.md, .json and plots")
    option("--parts", metavar="A,B", type=_names, help="only these (default: all)")
    option("--device", choices=DEVICES, default="auto", help="(default: auto)")
    option("--frames", metavar="N", type=int, default=16, help="of the embedded model's edits (16)")
    option("--size", metavar="N", type=int, default=192, help="their pixels a side (192)")
    option("--clips", metavar="N", type=int, default=3, help="to reconstruct (3)")
    option("--sd-frames", metavar="N", type=int, default=4, help="of the full-size UNet's loop (4)")
    option("--sd-size", metavar="N", type=int, default=512, help="its pixels a side (512)")
    option(
        "--lengths",
        metavar="N,N",
        type=_lengths,
        default=(40, 1000),
        help="frames of the clips whose memory is compared (40,1000)",
    )
    option("--json", action="store_true", help="print one JSON object last, on standard output")
    return parse


def run(arguments: list[str]) -> int:
    """Measure; progress goes to standard error, a table to standard output.

    Returns 0, or the error's exit code after one sentence on standard error.
    """

    def measure() -> None:
        options = parser().parse_args(arguments)
        bench = _bench(options)
        from ..benchmark.report import table

        print(json.dumps(bench.to_json()) if options.json else "\n".join(table(bench)))

    return exit_code_of(measure, "benchmark", "--json" in arguments)


def _bench(options: argparse.Namespace) -> Bench:
    for name, least in (("frames", 2), ("clips", 1), ("sd_frames", 2)):
        if getattr(options, name) < least:
            raise _bad(f"--{name.replace('_', '-')} must be at least {least}.", "Give more.")
    for name in ("size", "sd_size"):
        side = getattr(options, name)
        if side < 64 or side % 8:
            raise _bad(f"--{name.replace('_', '-')} is {side}.", "Give a multiple of 8 from 64 on.")
    # Loading torch takes seconds, which bad arguments should not have to wait for.
    from ..benchmark.bench import PARTS, BenchSettings, run_bench
    from ..benchmark.report import write_report

    asked = options.parts or list(PARTS)
    if unknown := [name for name in asked if name not in PARTS]:
        raise _bad(f"There is no part {unknown[0]!r}.", f"Choose from {', '.join(PARTS)}.")
    settings = BenchSettings(
        parts=tuple(part for part in PARTS if part in asked),
        **{
            name: getattr(options, name)
            for name in ("device", "frames", "size", "clips", "sd_frames", "sd_size", "lengths")
        },
    )

    def keep(bench: Bench) -> None:
        if options.output:
            write_report(bench, options.output)

    with tempfile.TemporaryDirectory(prefix="tokenflow-bench-") as folder:
        return run_bench(settings, Path(folder), _tell, keep)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _bad(message: str, remedy: str) -> TokenFlowError:
    return TokenFlowError("bad_request", message, remedy)


def _lengths(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _names(text))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
