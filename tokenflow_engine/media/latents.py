"""Arrays on disk that one phase leaves for the next: inverted latents, correspondence fields."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .staging import full_disk_explained

MANIFEST = "manifest.json"
Rows = int | slice | Sequence[int] | NDArray[np.integer[Any]]
"""Which rows (entries along the first axis, usually frames) an access is about."""


@dataclass
class _Array:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    checks: NDArray[np.int64]
    """CRC-32 of each row's bytes, -1 for a row that was not written."""

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


class StoredLatents:
    """Named arrays in a folder, read a few rows at a time; `open_sealed` gives one."""

    def __init__(self, folder: Path, arrays: dict[str, _Array]) -> None:
        self.folder = folder
        self._arrays = arrays

    def keys(self) -> list[str]:
        """The arrays' names in the order of their creation."""
        return list(self._arrays)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._arrays[key].shape

    def dtype(self, key: str) -> np.dtype[Any]:
        return self._arrays[key].dtype

    def read(self, key: str, rows: Rows) -> NDArray[Any]:
        """A copy of the array's rows (rows, ...); for an int row (...)."""
        array = self._arrays[key]
        mapped = np.memmap(self._path(key), array.dtype, "r", array.offset, array.shape)
        return np.array(mapped[rows])

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _is_intact(self, key: str, checksum: str, verify: bool) -> bool:
        """Whether the file has its full size and, with `verify`, its contents are as written."""
        array = self._arrays[key]
        path = self._path(key)
        size = array.offset + array.shape[0] * array.row_bytes
        if not path.is_file() or path.stat().st_size != size:
            return False
        if not verify:
            return True
        with path.open("rb") as file:
            file.seek(array.offset)
            for index in range(array.shape[0]):
                array.checks[index] = zlib.crc32(file.read(array.row_bytes))
        return _digest(array.checks) == checksum


class LatentStore(StoredLatents):
    """Arrays under construction, each one `.npy` file.

    Memory stays flat: rows go to the file as they come. The store counts as complete only after
    `seal`, which writes the manifest last.
    """

    def __init__(self, folder: Path) -> None:
        """Start an empty store; arrays that an older or unfinished run left are deleted."""
        super().__init__(folder, {})
        with full_disk_explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        # The manifest first: without it, no half-deleted store passes for a complete one.
        for left in (folder / MANIFEST, *folder.glob("*.npy")):
            left.unlink(missing_ok=True)

    def create(self, key: str, shape: Sequence[int], dtype: DTypeLike) -> None:
        """Add an array of `shape`, rows first, such as "t0801" of (frames, 4, H/8, W/8) float16.

        Raises:
            ValueError: for a key that is taken, or that is no plain name.
            TokenFlowError: code "no_space".
        """
        if key in self._arrays or not re.fullmatch(r"[\w-]+", key):
            raise ValueError(f"{key!r} cannot be a new array's name")
        size = tuple(int(n) for n in shape)
        kind = np.dtype(dtype)
        with full_disk_explained(self.folder), self._path(key).open("wb") as file:
            header = {"descr": kind.str, "fortran_order": False, "shape": size}
            np.lib.format.write_array_header_1_0(file, header)
            offset = file.tell()
        self._arrays[key] = _Array(size, kind, offset, np.full(size[0], -1, np.int64))

    def write(self, key: str, rows: Rows, values: NDArray[Any]) -> None:
        """Put `values` (rows, ...) into the array's rows; for an int row, values (...).

        Written with ordinary writes, never through a memory map, where a full disk ends the process
        with a signal instead of an error.

        Raises:
            ValueError: when the values' shape does not match.
            TokenFlowError: code "no_space".
        """
        array = self._arrays[key]
        indices = _row_indices(rows, array.shape[0])
        expected = (len(indices), *array.shape[1:])
        block = np.ascontiguousarray(values, array.dtype)
        if isinstance(rows, (int, np.integer)):
            block = block[None]
        if block.shape != expected:
            raise ValueError(f"{key}: values of shape {block.shape} for rows of {expected}")
        with full_disk_explained(self.folder), self._path(key).open("r+b") as file:
            for index, row in zip(indices, block, strict=True):
                data = row.tobytes()
                file.seek(array.offset + index * array.row_bytes)
                file.write(data)
                array.checks[index] = zlib.crc32(data)

    def seal(self) -> None:
        """Declare the store complete.

        Raises:
            ValueError: when a row was never written.
            TokenFlowError: code "no_space".
        """
        for key, array in self._arrays.items():
            missing = np.flatnonzero(array.checks < 0)
            if missing.size:
                raise ValueError(f"{key}: {missing.size} rows were not written, first {missing[0]}")
        manifest = {
            key: {
                "shape": list(array.shape),
                "dtype": array.dtype.str,
                "offset": array.offset,
                "checksum": _digest(array.checks),
            }
            for key, array in self._arrays.items()
        }
        partial = self.folder / f"{MANIFEST}.partial"
        with full_disk_explained(self.folder):
            for key in self._arrays:
                with self._path(key).open("r+b") as file:
                    os.fsync(file.fileno())
            with partial.open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.folder / MANIFEST)


def open_sealed(folder: Path, verify: bool = False) -> StoredLatents | None:
    """The store in `folder` for reading; None when it was never sealed or is damaged.

    verify: also read every byte and compare checksums, instead of sizes only.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        store = StoredLatents(
            folder,
            {
                key: _Array(
                    tuple(entry["shape"]),
                    np.dtype(entry["dtype"]),
                    entry["offset"],
                    np.zeros(entry["shape"][0], np.int64),
                )
                for key, entry in manifest.items()
            },
        )
        intact = all(
            store._is_intact(key, entry["checksum"], verify) for key, entry in manifest.items()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return store if intact else None


def _row_indices(rows: Rows, count: int) -> list[int]:
    return [int(i) for i in np.atleast_1d(np.arange(count)[rows])]


def _digest(checks: NDArray[np.int64]) -> str:
    return hashlib.blake2b(checks.astype("<u4").tobytes(), digest_size=16).hexdigest()
