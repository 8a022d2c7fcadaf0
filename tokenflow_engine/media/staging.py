"""Results that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from ..client.errors import TokenFlowError
from ..client.spoken import spoken_bytes

OURS = re.compile(r"\d{5,}\.(png|exr)|edit\.json")
"""Names an edit writes into its folder."""

DERIVED = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "BL_proxy"})
"""Names that file browsers and Blender's proxies leave in any folder of pictures."""

WINDOWS_DISK_FULL = (39, 112)
_ATTEMPTS = 8


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place when the block ends well.

    On any exception the folder is removed and `target` stays as it was. An older result is replaced
    whole: it is moved aside, the new one moved in, then the old one deleted. What a killed process
    left of an earlier attempt on this machine is cleared first.

    Raises:
        TokenFlowError: code "bad_request", when `target` is a file, holds anything that is not an
            edit's, or lies where nothing can be written; code "no_space", when the disk fills up.
    """
    target = target.resolve()
    missing = [folder for folder in target.parents if not folder.exists()]
    with full_disk_explained(target.parent), _refusal_explained(target):
        staging = _new_staging(target)
    try:
        with full_disk_explained(target.parent):
            yield staging
        with full_disk_explained(target.parent), _refusal_explained(target):
            _require_ours(target)
            _swap(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in missing:
            # Only what is empty goes, which is nothing once the result is in its place.
            with contextlib.suppress(OSError):
                folder.rmdir()


def _new_staging(target: Path) -> Path:
    """An empty folder beside the target, whose parents are made.

    An edit that was cancelled takes the folders away that it made, if they are empty: perhaps in
    the moment in which the same edit, tried again, is about to use them.
    """
    staging = target.with_name(f"{_mark(target)}{os.getpid()}-{uuid.uuid4().hex[:8]}")
    for attempts_left in reversed(range(_ATTEMPTS)):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _recover(target)
            _require_ours(target)
            staging.mkdir()
            break
        except FileNotFoundError:
            if not attempts_left:
                raise
    return staging


@contextlib.contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """Turn "no space left on device" out of the block into a TokenFlowError, code "no_space"."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
        if not full and getattr(error, "winerror", None) not in WINDOWS_DISK_FULL:
            raise
        raise TokenFlowError(
            "no_space",
            f'The disk of "{folder}" is full; {spoken_bytes(_free(folder))} are free.',
            "Free some space or choose another folder, then start again.",
            str(error),
        ) from error


def require_free_space(folder: Path, needed: int) -> None:
    """Check that the disk of `folder`, which need not exist yet, has `needed` bytes free.

    Raises:
        TokenFlowError: code "no_space".
    """
    free = _free(folder)
    if free < needed:
        raise TokenFlowError(
            "no_space",
            f'The edit needs about {spoken_bytes(needed)} in "{folder}"; '
            f"{spoken_bytes(free)} are free.",
            "Free some space, choose another folder, or edit fewer frames.",
        )


def _free(folder: Path) -> int:
    folder = folder.resolve()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _mark(target: Path) -> str:
    """Start of the names of this machine's staging folders for `target`."""
    host = re.sub(r"\W", "_", socket.gethostname())
    return f".{target.name}.partial-{host}-"


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _recover(target: Path) -> None:
    """Undo what a process that was killed midway left beside `target`."""
    previous = _previous(target)
    if previous.is_dir() and not target.exists():
        previous.rename(target)
    elif previous.is_dir() and not _strangers(previous):
        shutil.rmtree(previous)
    for left in target.parent.glob(f"{_mark(_escaped(target))}*"):
        owner = left.name.removeprefix(_mark(target)).partition("-")[0]
        if owner.isdigit() and int(owner) != os.getpid() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _escaped(target: Path) -> Path:
    """`target` with its name safe inside of a glob pattern."""
    return target.with_name(re.sub(r"([*?[])", r"[\1]", target.name))


def _require_ours(target: Path) -> None:
    if target.is_file():
        raise TokenFlowError(
            "bad_request",
            f'The output "{target}" is a file.',
            "Name a folder for the edited frames.",
        )
    if not target.is_dir():
        return
    strange = _strangers(target)
    if strange:
        raise TokenFlowError(
            "bad_request",
            f'The output folder "{target}" holds "{strange[0]}"'
            f"{f' and {len(strange) - 1} more' if len(strange) > 1 else ''}, which no edit made.",
            "Choose an empty or a new folder; an earlier edit's folder is replaced.",
        )


def _strangers(folder: Path) -> list[str]:
    """Names in a folder that no edit wrote."""
    names = (p.name for p in folder.iterdir())
    return sorted(n for n in names if not OURS.fullmatch(n) and n not in DERIVED)


def _swap(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    previous = _previous(target)
    target.rename(previous)
    try:
        staging.rename(target)
    except OSError:
        previous.rename(target)
        raise
    shutil.rmtree(previous, ignore_errors=True)


@contextlib.contextmanager
def _refusal_explained(target: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise TokenFlowError(
            "bad_request",
            f'The output folder "{target}" cannot be written.',
            "Choose a folder that you may write to, and close programs that have it open.",
            str(error),
        ) from error
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise TokenFlowError(
            "bad_request",
            f'The output folder "{target}" lies on a read-only disk.',
            "Choose a folder that you may write to.",
            str(error),
        ) from error
