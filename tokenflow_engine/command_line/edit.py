"""`tokenflow edit SOURCE --prompt TEXT --output DIR`: one edit without Blender."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NoReturn

from ..client.edit_request import CHOICES, EditRequest
from ..client.errors import TokenFlowError
from ..client.progress import EditResult
from .exit_code import exit_code_of
from .progress_line import ProgressLine

DEFAULTS = {name: field.default for name, field in EditRequest.__dataclass_fields__.items()}


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one sentence instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise TokenFlowError(
            "bad_request", f"{message[:1].upper()}{message[1:]}.", f"See {self.prog} --help."
        )


def parser() -> argparse.ArgumentParser:
    """All options of `tokenflow edit`; their names and defaults are the request's."""
    parse = Parser(prog="tokenflow edit", description=__doc__, allow_abbrev=False)
    parse.add_argument("source", metavar="SOURCE", help="a movie, or a folder of numbered images")

    def option(name: str, text: str, **more: Any) -> None:
        key = name.replace("-", "_")
        default = DEFAULTS.get(key)
        if key in CHOICES:
            more["choices"] = CHOICES[key]
        elif isinstance(default, (int, float)) and "type" not in more:
            more["type"] = type(default)
        shown = f" (default: {default})" if default not in (None, "") else ""
        more.setdefault("default", argparse.SUPPRESS)
        parse.add_argument(f"--{name}", help=text + shown, **more)

    option("prompt", "what the result shows", metavar="TEXT", required=True)
    option("output", "folder for the frames and edit.json", metavar="DIR", required=True)
    option("model", '"embedded" or a folder in diffusers layout', metavar="MODEL")
    option("editor", "base editor")
    option("negative-prompt", "what the result must not show", metavar="TEXT")
    option("source-prompt", "what the source shows; helps the inversion", metavar="TEXT")
    option("quality", "draft is lossy: quicker and coarser, to try prompts with")
    option("steps", "denoising steps", metavar="N")
    option("inversion-steps", "inversion steps", metavar="N")
    option("inversion-solver", "how the inversion steps; auto: ddim for reference, else implicit")
    option("guidance-scale", "classifier-free guidance; 1 switches it off", metavar="X")
    option("seed", "draws the keyframes, and the fresh noise of a variation", metavar="N")
    option("variation", "share of fresh noise that the edit starts from", metavar="X")
    option("preview-frames", "edit only so many frames, to judge a prompt; 0: all", metavar="N")
    option("chunk", "frames per UNet call and per keyframe", metavar="N")
    option("window", "keyframes per UNet call; 0: 8 of them above 16", metavar="N")
    option("mode", "propagation of the keyframes' features")
    option("pnp-attention", "share of steps with the source's queries and keys", metavar="X")
    option("pnp-features", "share of steps with the source's features", metavar="X")
    option("sdedit-start", "share of the diffusion that SDEdit runs", metavar="X")
    option("frames", "first:last+1, counted from 0", metavar="A:B", type=_range)
    option("size", "WIDTHxHEIGHT in pixels, multiples of 8", metavar="WxH", type=_size)
    option("device", "where the model runs")
    option("dtype", "precision of the model")
    option("compile", "the UNet's blocks; auto: where the edit is long enough to repay it")
    option("processes", "share the edit among so many, each on its own GPU", metavar="N")
    option("picture-format", "PNG of 8 or 16 bits, or OpenEXR")
    option("result-size", "the source's resolution, or that of the edit")
    option("keyframe-schedule", "JSON: the keyframes of each denoising step", metavar="FILE")
    option("trajectory", "safetensors file to write all latents to", metavar="FILE")
    option("last-phase", '"invert" only inverts the frames, for a later edit to find')
    parse.add_argument(
        "--json", action="store_true", help="print one JSON object last, on standard output"
    )
    return parse


def run(arguments: list[str]) -> int:
    """Make the edit; progress goes to standard error.

    Returns 0, or the error's exit code after one sentence on standard error.
    """

    def make() -> None:
        options = vars(parser().parse_args(arguments))
        as_json = options.pop("json")
        request = EditRequest(**options).validated()
        _report(request, _edit(request), as_json)

    return exit_code_of(make, "edit", "--json" in arguments)


def _edit(request: EditRequest) -> EditResult:
    # Loading torch takes seconds, which bad arguments should not have to wait for.
    from ..phases.edit_run import edit

    with ProgressLine(sys.stderr) as line:
        return edit(request, progress=line.show)


def _report(request: EditRequest, result: EditResult, as_json: bool) -> None:
    for warning in result.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    if as_json:
        paths = {"edit_file": f"{result.output}/edit.json", "trajectory": request.trajectory}
        print(json.dumps({**result.to_json(), **paths}))
        return
    where = "the cache" if request.last_phase == "invert" else result.output
    print(f"{result.frame_count} frames of {result.width}x{result.height} are in {where}")


def _range(text: str) -> tuple[int, int]:
    first, separator, stop = text.partition(":")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form A:B")
    return int(first), int(stop)


def _size(text: str) -> tuple[int, int]:
    width, separator, height = text.lower().partition("x")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form WIDTHxHEIGHT")
    return int(width), int(height)
