"""How a command ends: its exit code, and one sentence on standard error where it failed."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable

from ..client.errors import TokenFlowError


def exit_code_of(work: Callable[[], None], thing: str, as_json: bool) -> int:
    """0 once `work` is done, or the exit code of the error that ended it.

    thing: what the user has cancelled when it is interrupted. as_json: say the error as one JSON
        object on standard output as well.
    """
    try:
        work()
    except TokenFlowError as error:
        return _failed(error, as_json)
    except KeyboardInterrupt:
        return _failed(TokenFlowError("cancelled", f"The {thing} was cancelled."), as_json)
    except Exception as error:
        traceback.print_exc()
        problem = f"The engine met an error it did not expect: {type(error).__name__}: {error}"
        remedy = "Please report it together with the lines above."
        return _failed(TokenFlowError("internal", problem, remedy), as_json)
    return 0


def _failed(error: TokenFlowError, as_json: bool) -> int:
    print(error, file=sys.stderr)
    if as_json:
        print(json.dumps({"error": error.to_json()}))
    return error.exit_code
