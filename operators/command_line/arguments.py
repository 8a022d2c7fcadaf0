"""The arguments of every verb; options of an edit have the names that the engine gives them."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from ...tokenflow_engine.client.edit_request import CHOICES, EditRequest
from ...tokenflow_engine.client.errors import EXIT_CODES, TokenFlowError
from ...tokenflow_engine.client.step_command import ENGINE_STEPS, add_step_arguments

_TYPES = {"int": int, "float": float}
_NOT_OPTIONS = {"source", "last_phase", "preview_frames", "piece"}
OPTION_NAMES = [field.name for field in fields(EditRequest) if field.name not in _NOT_OPTIONS]


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would end Blender."""

    def error(self, message: str) -> NoReturn:
        raise TokenFlowError(
            "bad_request",
            f"{message[:1].upper()}{message[1:]}.",
            f"See: {self.prog} --help",
        )


def parser() -> argparse.ArgumentParser:
    """The parser of `blender --command tokenflow`."""
    codes = ", ".join(f"{code} {name.replace('_', ' ')}" for name, code in EXIT_CODES.items())
    top = _Parser(
        "blender --command tokenflow",
        description="Edit video strips by text.",
        epilog=f"Exit codes: 0 done, {codes}.",
    )
    verbs = top.add_subparsers(dest="verb", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")

    _json(verb("list", "what strips there are, and which can be edited"))
    edit = verb("edit", "edit one strip, or all of an edit list, and save a copy of the .blend")
    which = edit.add_mutually_exclusive_group(required=True)
    which.add_argument("--strip", help="name of the strip")
    which.add_argument("--edit-list", type=Path, metavar="FILE", help="edit all that it lists")
    edit.add_argument("--job", type=Path, metavar="DIR", help="of a list; default LIST_job")
    _output_blend(edit)
    _edit_options(edit)
    _json(edit)
    export = verb("export", "write an edit list: the project's edits, or new ones of strips")
    export.add_argument("--output", type=Path, required=True, metavar="FILE", dest="file")
    export.add_argument("--strip", action="append", help="a new edit of this strip; repeatable")
    export.add_argument("--edit-list", type=Path, metavar="FILE", help="complete this list")
    _edit_options(export, without=("output", "keyframe_schedule", "trajectory"))
    _json(export)
    add_step_arguments(verb("extract", "render strips to pictures (CPU)"), "extract")
    for name, text in ENGINE_STEPS.items():
        add_step_arguments(verb(name, text), name)
    assemble = verb("assemble", "put the edits into a copy of the .blend (CPU, one process)")
    add_step_arguments(assemble, "assemble")
    _output_blend(assemble)
    return top


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """The values of an edit that were given, by the request's names; without the output folder."""
    return {
        name: value
        for name in OPTION_NAMES
        if name != "output" and (value := getattr(options, name, None)) is not None
    }


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object last")


def _output_blend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output-blend", type=Path, help="the copy; default SHOT_tokenflow.blend")


def _edit_options(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    parser.add_argument("--preset", default="", help="name of a preset to start from")
    kinds = {field.name: str(field.type) for field in fields(EditRequest)}
    for name in OPTION_NAMES:
        option = f"--{name.replace('_', '-')}"
        if name in without:
            continue
        if name == "size":
            parser.add_argument(option, type=_pair("x"), metavar="WxH")
        elif name == "frames":
            parser.add_argument(option, type=_pair(":"), metavar="A:B", help="counted in the strip")
        elif name in CHOICES:
            parser.add_argument(option, choices=CHOICES[name])
        else:
            parser.add_argument(option, type=_TYPES.get(kinds[name], str))


def _pair(separator: str) -> Any:
    def pair(text: str) -> tuple[int, int]:
        first, second = text.split(separator)
        return int(first), int(second)

    return pair
