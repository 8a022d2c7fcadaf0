"""`tokenflow evaluate CLIPS --output DIR`: TokenFlow beside other methods, measured."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..client.edit_request import CHOICES, EditRequest
from .edit import DEFAULTS, Parser
from .exit_code import exit_code_of

if TYPE_CHECKING:
    from ..comparison.report import Report

TUNING_STEPS = 100


def parser() -> argparse.ArgumentParser:
    """All options; those that an edit has too carry its names and defaults."""
    parse = Parser(
        prog="tokenflow evaluate",
        description="Edit clips by several methods and measure the results.",
        allow_abbrev=False,
    )
    option = parse.add_argument
    option(
        "clips",
        metavar="CLIPS",
        type=Path,
        help="folder with captions.json, or one clip (--prompt)",
    )
    option("--output", metavar="DIR", type=Path, required=True, help="folder for the report")
    option("--methods", metavar="A,B", type=_names, help='names, or "all" (default: no ablations)')
    option("--limit", metavar="N", type=_positive, help="only the first N clips")
    option("--seeds", metavar="A,B", type=_seeds, default=(0,), help="draw keyframes (default: 0)")
    option("--prompt", metavar="TEXT", help="for a single clip: what the edit shows")
    option("--source-prompt", metavar="TEXT", help="for a single clip: what it shows now")
    steps = DEFAULTS["steps"]
    option(
        "--steps", metavar="N", type=int, default=steps, help="of inversion and edit (%(default)s)"
    )
    option("--size", metavar="WxH", type=_size, help="pixels, or one number for a square")
    option("--model", metavar="MODEL", default=DEFAULTS["model"], help='"embedded" or a folder')
    for name in ("guidance-scale", "pnp-attention", "pnp-features"):
        default = DEFAULTS[name.replace("-", "_")]
        option(
            f"--{name}", metavar="X", type=float, default=default, help="as in edit (%(default)s)"
        )
    option("--chunk", metavar="N", type=int, default=DEFAULTS["chunk"], help="as in edit")
    for name in ("device", "dtype"):
        option(f"--{name}", choices=CHOICES[name], default=DEFAULTS[name], help="as in edit")
    option(
        "--tuning-steps",
        metavar="N",
        type=_positive,
        default=TUNING_STEPS,
        help="of Tune-A-Video (default: %(default)s)",
    )
    option("--clip-model", metavar="DIR", type=Path, help="a CLIP model in transformers' layout")
    option("--json", action="store_true", help="print one JSON object last, on standard output")
    return parse


def run(arguments: list[str]) -> int:
    """Compare; progress goes to standard error, a table to standard output.

    Returns 0, or the error's exit code after one sentence on standard error.
    """

    def compare() -> None:
        options = parser().parse_args(arguments)
        report = _compare(options)
        print(json.dumps(report.to_json()) if options.json else report.table())

    return exit_code_of(compare, "comparison", "--json" in arguments)


def _compare(options: argparse.Namespace) -> Report:
    request = _template(options)
    # Loading torch takes seconds, which bad arguments should not have to wait for.
    from ..comparison.clips import read_clips
    from ..comparison.evaluate import Settings, chosen_methods, evaluate_clip, load_judges
    from ..comparison.methods import METHODS
    from ..comparison.report import Report

    named = list(METHODS) if options.methods == ["all"] else options.methods
    methods = chosen_methods(named)
    clips = read_clips(options.clips, options.prompt, options.source_prompt)[: options.limit]
    judges = load_judges(clips, options.clip_model)
    settings = Settings(request, methods, options.seeds, options.tuning_steps, options.clip_model)
    report = Report(options.output.resolve(), _shown(options, request), len(clips))
    for number, clip in enumerate(clips, 1):
        mark = f"[{number}/{len(clips)}] {clip.name}"

        def tell(line: str, mark: str = mark) -> None:
            print(f"{mark}: {line}", file=sys.stderr, flush=True)

        report.add(evaluate_clip(clip, settings, judges, tell))
    return report


def _template(options: argparse.Namespace) -> EditRequest:
    """The settings that all edits share, checked before anything is loaded."""
    request = EditRequest(
        source=str(options.clips),
        prompt=options.prompt or "each clip's own",
        output=str(options.output),
        model=options.model,
        steps=options.steps,
        inversion_steps=options.steps,
        size=options.size,
        **{
            name: getattr(options, name)
            for name in ("guidance_scale", "pnp_attention", "pnp_features", "chunk")
        },
        device=options.device,
        dtype=options.dtype,
    )
    return replace(request.validated(any_words=True).resolved(), source=str(options.clips))


def _shown(options: argparse.Namespace, request: EditRequest) -> dict[str, Any]:
    """What a reader of the report needs to know, without this machine's paths."""
    return {
        "model": "embedded" if options.model == "embedded" else Path(options.model).name,
        "size": "as the clips" if request.size is None else f"{request.size[0]}x{request.size[1]}",
        "steps": request.steps,
        "guidance": request.guidance_scale,
        "chunk": request.chunk,
        "pnp": [request.pnp_attention, request.pnp_features],
        "seeds": list(options.seeds),
        "tuning_steps": options.tuning_steps,
        "clip_model": None if options.clip_model is None else options.clip_model.name,
    }


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seeds(text: str) -> tuple[int, ...]:
    parts = _names(text)
    if not parts or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers like 0,1,2")
    return tuple(dict.fromkeys(map(int, parts)))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or of the form WIDTHxHEIGHT")
    return int(sides[0]), int(sides[-1])
