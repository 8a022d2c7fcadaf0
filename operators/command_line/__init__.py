"""`blender -b SHOT.blend --addons ... --command tokenflow VERB ...`, for scripts and render farms.

The same arguments go to `blender -b SHOT.blend -P farm/tokenflow_command.py -- VERB ...`.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from typing import Any

import bpy

from ...tokenflow_engine.client.errors import TokenFlowError


def main(arguments: Sequence[str]) -> int:
    """Run a verb; return the process's exit code, 0 or one of `client.errors.EXIT_CODES`."""
    # No window needs any of these: its start does not wait for them.
    from ...tokenflow_engine.client.step_report import StepReport
    from .arguments import parser
    from .verbs import VERBS

    as_json = "--json" in arguments
    report = StepReport("--openjd" in arguments)
    try:
        options = parser().parse_args(arguments)
        outcome, spoken = VERBS[options.verb](options, report)
    except TokenFlowError as error:
        return report.fail(error, as_json)
    except KeyboardInterrupt:
        return report.fail(TokenFlowError("cancelled", "It was cancelled."), as_json)
    except SystemExit as leaving:
        # Help was asked for.
        return int(leaving.code or 0)
    except Exception as error:
        traceback.print_exc()
        message = f"Something unexpected happened: {type(error).__name__}: {error}"
        remedy = "Please report it together with the lines above."
        return report.fail(TokenFlowError("internal", message, remedy), as_json)
    if as_json:
        print(json.dumps(outcome), flush=True)
    else:
        print(spoken, flush=True)
    return 0


_registered: list[Any] = []


def register() -> None:
    _registered.append(bpy.utils.register_cli_command("tokenflow", main))


def unregister() -> None:
    while _registered:
        bpy.utils.unregister_cli_command(_registered.pop())
