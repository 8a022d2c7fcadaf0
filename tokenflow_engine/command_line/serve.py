"""`tokenflow serve`: the engine as a service on a local socket."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

from ..client.errors import TokenFlowError
from ..service.engine import ServiceOptions, serve


def parse(arguments: list[str]) -> ServiceOptions:
    """Read the command line; ends the process with code 2 if it cannot be read."""
    parser = argparse.ArgumentParser(
        prog="tokenflow serve",
        description="Serve edits on a local socket. The add-on starts this by itself.",
    )
    parser.add_argument(
        "--runtime",
        type=Path,
        default=default_runtime(),
        metavar="DIR",
        help="private folder for the socket and its token (default: %(default)s)",
    )
    parser.add_argument(
        "--owner-pid",
        type=_process_id,
        metavar="N",
        help="end when this process ends, or when a pipe on standard input ends",
    )
    parser.add_argument(
        "--idle-seconds",
        type=_seconds,
        default=ServiceOptions.idle_seconds,
        metavar="S",
        help="release loaded models after this time without an edit (default: %(default)g)",
    )
    parser.add_argument(
        "--exit-idle-seconds",
        type=_seconds,
        metavar="S",
        help="end after this time without a client and an edit (default: never)",
    )
    return ServiceOptions(**vars(parser.parse_args(arguments)))


def run(arguments: list[str]) -> int:
    """Serve until the owner is gone or somebody asks to end; return the exit code."""
    options = parse(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        return serve(options)
    except TokenFlowError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"No local socket can be opened: {error}.", file=sys.stderr)
        return 1


def default_runtime() -> Path:
    """Where an engine started by hand listens: short, private and gone after a restart."""
    if sys.platform == "win32":
        return Path(tempfile.gettempdir()) / "tokenflow-edit"
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "tokenflow-edit"
    return Path(tempfile.gettempdir()) / f"tokenflow-edit-{os.getuid()}"


def _process_id(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("a process id is positive")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("give a number of seconds")
    return value
