"""`tokenflow edit`, `evaluate`, `bench`, `serve`, `farm`, `doctor`, `cache` and `models`."""

from __future__ import annotations

import importlib
import os
import sys

USAGE = """\
usage: tokenflow COMMAND ...

  edit      edit a movie or a folder of numbered images by text
  evaluate  compare TokenFlow with other methods on clips, and measure all
  bench     measure speed and memory on this machine
  serve     run the engine for Blender (the add-on starts it by itself)
  farm      edit lists as jobs on many machines
  doctor    check this installation and say how to mend it
  cache     how much is kept of earlier edits, and making room
  models    models on this disk and on the hub; fetch and convert them

`tokenflow COMMAND --help` tells more."""

COMMANDS = ("edit", "evaluate", "bench", "serve", "farm", "doctor", "cache", "models")


def main(arguments: list[str]) -> int:
    """Run one command; returns the process's exit code."""
    # Nothing is ever fetched behind the user's back.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    # Threads that spin while they wait for each other cost several times the work itself as soon as
    # another program, Blender for one, wants the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments and arguments[0] in COMMANDS:
        command = importlib.import_module(f".{arguments[0]}", __name__)
        return int(command.run(arguments[1:]))
    asked = bool(arguments) and arguments[0] in ("-h", "--help")
    if arguments and not asked:
        print(f"There is no command {arguments[0]!r}.", file=sys.stderr)
    print(USAGE, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2
