"""The folder in which the steps of a job leave their results, for each other and for a second run.

    edit_list.json            what is to be done
    frames/NAME/00000.png     extract: the strip's pictures
    cache/                    invert: what the phases keep (TOKENFLOW_CACHE)
    edited/NAME/              render: the edited frames and edit.json
    SHOT_tokenflow.blend      assemble: the copy of the project
    done/STEP-NAME.json       a finished step: the hash of its inputs, and what came of it

A step whose inputs have the same hash, and whose results are still there, need not run again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import TokenFlowError

STEPS_VERSION = 1
"""Raised when the same inputs would no longer give the same results."""

_BLOCK = 1 << 22


class StepTaken(TokenFlowError):
    """Another process is at the step."""


@dataclass(frozen=True)
class JobFolder:
    """Paths of one job; nothing is made before it is written."""

    root: Path

    @property
    def edit_list(self) -> Path:
        return self.root / "edit_list.json"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def frames(self, name: str) -> Path:
        return self.root / "frames" / name

    def edited(self, name: str) -> Path:
        return self.root / "edited" / name

    def finished(self, step: str, inputs: str) -> dict[str, Any] | None:
        """What a step left, if it was done with these inputs; None if it is to be done."""
        found = self.stamp(step)
        return found["outputs"] if found is not None and found["inputs"] == inputs else None

    def stamp(self, step: str) -> dict[str, Any] | None:
        """{"inputs": hash, "outputs": {...}} of a step that was done with whatever inputs."""
        try:
            found = json.loads(self._stamp(step).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        good = isinstance(found, dict) and isinstance(found.get("outputs"), dict)
        return found if good and "inputs" in found else None

    def finish(self, step: str, inputs: str, outputs: Mapping[str, Any]) -> None:
        """Note that a step is done, once its results lie in their place.

        Raises:
            TokenFlowError: code "no_space".
        """
        file = self._stamp(step)
        partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"inputs": inputs, "outputs": outputs}, indent=1)
            partial.write_text(text, encoding="utf-8")
            partial.replace(file)
        except OSError as error:
            raise TokenFlowError(
                "no_space",
                f'Nothing can be written in the job\'s folder "{self.root}".',
                "Check that there is space and that the folder may be written to.",
                str(error),
            ) from error

    @contextlib.contextmanager
    def only_process(self, step: str) -> Iterator[None]:
        """Hold a step's lock, which the system takes back from a process that dies.

        Raises:
            StepTaken: code "bad_request", while another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f".{step}.lock").open("a+") as file:
            if not _locked(file.fileno()):
                raise StepTaken(
                    "bad_request",
                    f'Another process is at the step {step} of "{self.root}".',
                    "Wait until it has finished.",
                )
            # Closing the file gives the lock back.
            yield

    def _stamp(self, step: str) -> Path:
        return self.root / "done" / f"{step}.json"


def hash_of(inputs: Mapping[str, Any]) -> str:
    """Hash, hexadecimal, of all that a step's result depends on."""
    text = json.dumps({"version": STEPS_VERSION, **inputs}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def content_hash(*files: Path) -> str:
    """Hash, hexadecimal, of the files' bytes, in this order; names and dates don't count.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        digest.update(f"{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def pictures_in(folder: Path) -> list[Path]:
    """`00000.png` ... in order; empty where there is no folder."""
    return sorted(folder.glob("[0-9]*.png"))


def _locked(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
