"""`tokenflow models`: models on this disk and on the hub."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..client.errors import TokenFlowError
from ..client.spoken import spoken_bytes
from .messages import end_with_owner, say_done, say_error, say_progress

if TYPE_CHECKING:
    from ..diffusion.hub import HubModel

_SECONDS_BETWEEN_MESSAGES = 0.2


def run(arguments: list[str]) -> int:
    """List, describe or fetch; the exit code is the error's."""
    parser = argparse.ArgumentParser(prog="tokenflow models", description=__doc__)
    parser.add_argument("--messages", action="store_true", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="models in folders of this disk")
    listing.add_argument("folders", nargs="*", type=Path)
    about = verbs.add_parser("describe", help="a hub model's size and licence")
    about.add_argument("id", metavar="OWNER/NAME")
    fetching = verbs.add_parser("fetch", help="fetch a hub model; goes on where it broke off")
    fetching.add_argument("id", metavar="OWNER/NAME")
    fetching.add_argument("folder", type=Path, help="folder that holds models")
    configuring = verbs.add_parser(
        "configure", help="fetch the configuration of a single .safetensors file from the hub"
    )
    configuring.add_argument("file", type=Path)
    given = parser.parse_args(arguments)
    if given.messages:
        end_with_owner()
    # Asked for by name, unlike everything that HF_HUB_OFFLINE keeps from happening.
    os.environ["HF_HUB_OFFLINE"] = "0"
    # Its transfers cannot be gone on with by another process.
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        if given.verb == "list":
            _list(given.folders, given.messages)
        elif given.verb == "describe":
            _describe(given.id, given.messages)
        elif given.verb == "configure":
            _configure(given.file, given.messages)
        else:
            _fetch(given.id, given.folder, given.messages)
    except TokenFlowError as error:
        if given.messages:
            say_error(error)
        else:
            print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _list(folders: list[Path], messages: bool) -> None:
    from ..service.capabilities import models

    found = models([str(folder.absolute()) for folder in folders])
    if messages:
        say_done(models=found)
    else:
        print(json.dumps(found, indent=1))


def _describe(model_id: str, messages: bool) -> HubModel:
    from ..diffusion.hub import describe

    model = describe(model_id)
    if messages:
        say_done(**{**asdict(model), "files": len(model.files), "size": model.size})
    else:
        print(f"{model.id}: {spoken_bytes(model.size)}, licence {model.licence}")
    return model


def _configure(file: Path, messages: bool) -> None:
    from ..diffusion.hub import fetch_small_files
    from ..diffusion.single_file import fetch_configuration

    folder = fetch_configuration(file.absolute(), fetch_small_files)
    if messages:
        say_done(folder=str(folder))
    else:
        print(folder)


def _fetch(model_id: str, folder: Path, messages: bool) -> None:
    from ..diffusion.hub import describe, fetch

    model = describe(model_id)
    done, said = 0, 0.0

    def gained(count: int) -> None:
        nonlocal done, said
        done += count
        if time.monotonic() - said >= _SECONDS_BETWEEN_MESSAGES:
            said = time.monotonic()
            if messages:
                say_progress("fetch", done, model.size)
            else:
                print(f"{spoken_bytes(max(0, done))} of {spoken_bytes(model.size)}", flush=True)

    path = fetch(model, folder.absolute(), gained)
    if messages:
        say_done(folder=str(path), id=model.id)
    else:
        print(path)
