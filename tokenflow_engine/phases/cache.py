"""Results of phases on disk, found again by the content they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..media.latents import LatentStore, StoredLatents, open_sealed
from .claims import is_held, mark

CACHE_VERSION = 1
"""Raised when the same key would no longer mean the same numbers."""

DEFAULT_LIMIT = 20 * 10**9
"""Bytes that the cache may hold before the entries unused for longest are removed."""


def cache_limit() -> int:
    """Bytes; the variable TOKENFLOW_CACHE_GB names another limit than the default."""
    try:
        return int(float(os.environ["TOKENFLOW_CACHE_GB"]) * 10**9)
    except (KeyError, ValueError, OverflowError):
        return DEFAULT_LIMIT


PART, CLAIM = ".part", ".claim"
"""Suffixes of a store under construction, and of a file that says who reads a store."""


def cache_root() -> Path:
    """The user's cache folder for this program; the variable TOKENFLOW_CACHE names another."""
    if named := os.environ.get("TOKENFLOW_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "tokenflow_edit" / "phases"


def key_of(parts: Mapping[str, Any]) -> str:
    """Hash, hexadecimal, of everything a phase's result depends on."""
    text = json.dumps({"version": CACHE_VERSION, **parts}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass
class PhaseCache:
    """Sealed stores under one folder; several engines may share it.

    Whatever a run has found or built stays until it calls `release`, whoever evicts.
    """

    root: Path = field(default_factory=cache_root)
    limit: int = field(default_factory=cache_limit)
    _claims: dict[Path, Path] = field(default_factory=dict)

    @property
    def compiled(self) -> Path:
        """Folder for compiled models, some dozens of MB each, which do not count for the limit."""
        return self.root / "compiled"

    def find(self, phase: str, key: str) -> StoredLatents | None:
        """The store of a phase, or None where there is none or it is damaged.

        Its bytes are checked once in a run; a damaged store is removed.
        """
        folder = self._folder(phase, key)
        if not folder.is_dir():
            return None
        known = folder in self._claims
        with self._lock():
            if not folder.is_dir():
                return None
            self._claim(folder)
            os.utime(folder)
        store = open_sealed(folder, verify=not known)
        if store is None:
            with self._lock():
                self._unclaim(folder)
                shutil.rmtree(folder, ignore_errors=True)
        return store

    def obtain(self, phase: str, key: str, make: Callable[[LatentStore], None]) -> StoredLatents:
        """The store of a phase, which `make` fills if it is not there."""
        return self.find(phase, key) or self.make(phase, key, make)

    def make(self, phase: str, key: str, make: Callable[[LatentStore], None]) -> StoredLatents:
        """The store of a phase, filled anew by `make`; one that is there already stays."""
        with self.build(phase, key) as new:
            make(new)
        store = self.find(phase, key)
        if store is None:
            raise RuntimeError(f"the store of {phase} vanished as soon as it was sealed")
        return store

    @contextmanager
    def build(self, phase: str, key: str) -> Iterator[LatentStore]:
        """A store to fill; sealed and put in its place at the end, removed on any exception."""
        folder = self._folder(phase, key)
        staging = folder.with_name(f"{folder.name}.{mark()}{PART}")
        staging.mkdir(parents=True)
        store = LatentStore(staging)
        try:
            yield store
            store.seal()
            with self._lock():
                # Another engine may have been faster with the same content, which serves as well.
                if not folder.is_dir():
                    staging.rename(folder)
                self._claim(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self.evict()

    def evict(self) -> None:
        """Remove entries, unused for longest first, until the rest is within the limit.

        Entries that a living process uses stay; what dead ones left goes first.
        """
        with self._lock():
            for left in (*self.root.glob(f"*/*{PART}"), *self.root.glob(f"*/*{CLAIM}")):
                if not is_held(left):
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(True)
            folders = [p for p in self.root.glob("*/*") if p.is_dir() and p.suffix != PART]
            entries = [p for p in folders if p.parent != self.compiled]
            sizes = {p: sum(f.stat().st_size for f in p.glob("*")) for p in entries}
            total = sum(sizes.values())
            for folder in sorted(sizes, key=lambda p: p.stat().st_mtime):
                if total <= self.limit:
                    return
                if not any(folder.parent.glob(f"{folder.name}.*{CLAIM}")):
                    shutil.rmtree(folder, ignore_errors=True)
                    total -= sizes[folder]

    def release(self) -> None:
        """Say that this run needs its entries no longer."""
        for folder in list(self._claims):
            self._unclaim(folder)

    def _claim(self, folder: Path) -> None:
        if folder not in self._claims:
            claim = folder.with_name(f"{folder.name}.{mark()}{CLAIM}")
            claim.touch()
            self._claims[folder] = claim

    def _unclaim(self, folder: Path) -> None:
        claim = self._claims.pop(folder, None)
        if claim is not None:
            claim.unlink(missing_ok=True)

    def _lock(self) -> FileLock:
        """Held for moments only, never while a store is read or filled."""
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / "cache.lock")

    def clear(self) -> None:
        """Remove every entry and all compiled code, and nothing else that lies in the folder."""
        shutil.rmtree(self.compiled, ignore_errors=True)
        for path in self.root.glob("*/*"):
            if re.fullmatch(r"[0-9a-f]{32}(\..*)?", path.name):
                shutil.rmtree(path, ignore_errors=True)

    def _folder(self, phase: str, key: str) -> Path:
        return self.root / phase / key
