"""What a command tells the add-on that started it: one JSON object a line."""

from __future__ import annotations

import json
import os
from typing import Any

from ..client.errors import TokenFlowError
from ..service.owner import when_input_ends


def say_progress(stage: str, done: int = 0, total: int = 0) -> None:
    """How far it is: done of total bytes or things, total 0 if unknown."""
    say(progress={"stage": stage, "done": done, "total": total})


def say_done(**result: Any) -> None:
    """The last message of a command that succeeded."""
    say(done=result)


def say_error(error: TokenFlowError) -> None:
    """The last message of one that failed."""
    say(error=error.to_json())


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def end_with_owner() -> None:
    """End at once when the add-on is gone, or no longer wants the result."""
    when_input_ends(lambda: os._exit(9))
