"""`blender -b SHOT.blend --addons ... --command tokenflow edit --strip NAME --prompt TEXT`.

What an option leaves out is taken from the scene's settings, as the panel shows them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

import bpy
from bpy.types import Strip

from ..sequencer.compatibility import left_handle
from ..sequencer.queue_timer import edit_queue
from ..sequencer.settings import request_template
from ..sequencer.source_strip import named_strip
from ..sequencer.strip_edit import Stage, StripEdit
from ..tokenflow_engine.client.edit_request import CHOICES, EditRequest
from ..tokenflow_engine.client.errors import TokenFlowError
from ..tokenflow_engine.client.progress import EditResult

_SECONDS_BETWEEN_LINES = 2.0
_TYPES = {"int": int, "float": float}
_OPTION_NAMES = [field.name for field in fields(EditRequest) if field.name not in ("source",)]


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would end Blender."""

    def error(self, message: str) -> NoReturn:
        raise TokenFlowError(
            "bad_request",
            f"{message[:1].upper()}{message[1:]}.",
            "See: blender --command tokenflow edit --help",
        )


def parser() -> argparse.ArgumentParser:
    """The command's arguments; options of the edit have the names the engine gives them."""
    top = _Parser("blender --command tokenflow", description="Edit video strips by text.")
    edit = top.add_subparsers(dest="verb", required=True).add_parser(
        "edit", help="edit one strip and save a copy of the .blend"
    )
    edit.add_argument("--strip", required=True, help="name of the movie or image strip")
    edit.add_argument("--output-blend", type=Path, help="the copy; default SHOT_tokenflow.blend")
    edit.add_argument("--json", action="store_true", help="print one JSON object last")
    kinds = {field.name: str(field.type) for field in fields(EditRequest)}
    for name in _OPTION_NAMES:
        option = f"--{name.replace('_', '-')}"
        if name == "size":
            edit.add_argument(option, type=_pair("x"), metavar="WxH")
        elif name == "frames":
            edit.add_argument(option, type=_pair(":"), metavar="A:B", help="counted in the strip")
        elif name in CHOICES:
            edit.add_argument(option, choices=CHOICES[name])
        else:
            edit.add_argument(option, type=_TYPES.get(kinds[name], str))
    return top


def _pair(separator: str) -> Any:
    def pair(text: str) -> tuple[int, int]:
        first, second = text.split(separator)
        return int(first), int(second)

    return pair


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the process's exit code, 0 if the edit was made and saved."""
    try:
        options = parser().parse_args(arguments)
        report = edit_and_save(options)
    except TokenFlowError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    except SystemExit as leaving:
        # Help was asked for.
        return int(leaving.code or 0)
    if options.json:
        print(json.dumps(report), flush=True)
    else:
        for warning in report["warnings"]:
            print(f"tokenflow: {warning}")
        print(f"{report['strip']} on channel {report['channel']}, saved in {report['blend']}")
    return 0


def edit_and_save(options: argparse.Namespace) -> dict[str, Any]:
    """Make the edit and save a copy of the open .blend; return what lies where.

    Raises:
        TokenFlowError: the edit failed, or the copy could not be saved.
    """
    blend = _copy_path(options.output_blend)
    scene, source = named_strip(bpy.context, options.strip)
    given = {
        name: value
        for name in _OPTION_NAMES
        if name != "output" and (value := getattr(options, name)) is not None
    }
    template = replace(request_template(scene.tokenflow), **given)
    output = None if options.output is None else Path(options.output).absolute()
    queue = edit_queue()
    started = time.monotonic()
    edit = queue.start(scene, source, template, here=True, output=output)
    strip = queue.run_to_end(edit, _ProgressLines())
    _save_copy(blend)
    if edit.result is None:
        raise RuntimeError("a finished edit has a result")
    return _report(strip, edit.strip_name, edit.result, blend, time.monotonic() - started)


def _copy_path(wanted: Path | None) -> Path:
    opened = Path(bpy.data.filepath) if bpy.data.filepath else None
    if wanted is None and opened is None:
        raise TokenFlowError(
            "bad_request",
            "No .blend is open, so there is none to save a copy beside.",
            "Open one, or name the copy with --output-blend.",
        )
    if wanted is None and opened is not None:
        copy, number = opened.with_name(f"{opened.stem}_tokenflow.blend"), 2
        while copy.exists():
            copy = opened.with_name(f"{opened.stem}_tokenflow_{number}.blend")
            number += 1
        return copy
    copy = Path(str(wanted)).absolute()
    if opened is not None and copy.resolve() == opened.resolve():
        raise TokenFlowError(
            "bad_request",
            "The copy would replace the .blend that is open.",
            "Give --output-blend another name.",
        )
    return copy


def _save_copy(blend: Path) -> None:
    try:
        blend.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(blend), copy=True, check_existing=False)
    except (OSError, RuntimeError) as error:
        raise TokenFlowError(
            "no_space",
            f"The copy could not be saved as {blend}.",
            "Check that there is space and that the folder may be written to.",
            str(error),
        ) from error


def _report(
    strip: Strip, source: str, result: EditResult, blend: Path, seconds: float
) -> dict[str, Any]:
    return {
        "blend": str(blend),
        "source_strip": source,
        "strip": strip.name,
        "channel": strip.channel,
        "frame_start": left_handle(strip),
        "total_seconds": round(seconds, 3),
        **result.to_json(),
    }


class _ProgressLines:
    """Prints phase, share and time left: at each new phase, and every few seconds within one."""

    def __init__(self) -> None:
        self._phase = ""
        self._printed = 0.0

    def __call__(self, edit: StripEdit) -> None:
        progress, now = edit.progress, time.monotonic()
        if progress is None or edit.stage not in (Stage.READING, Stage.ENGINE):
            return
        if progress.phase == self._phase and now - self._printed < _SECONDS_BETWEEN_LINES:
            return
        self._phase, self._printed = progress.phase, now
        left = "" if progress.eta_seconds is None else f", {progress.eta_seconds:.0f} s left"
        print(f"tokenflow: {progress.phase} {progress.done}/{progress.total}{left}", flush=True)


_registered: list[Any] = []


def register() -> None:
    _registered.append(bpy.utils.register_cli_command("tokenflow", main))


def unregister() -> None:
    while _registered:
        bpy.utils.unregister_cli_command(_registered.pop())
