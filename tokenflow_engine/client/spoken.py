"""Quantities as people say them."""

from __future__ import annotations


def spoken_bytes(count: int) -> str:
    """A number of bytes as people say it: "3 GB", "1.2 GB", "640 MB"."""
    if count < 1000:
        return f"{count} bytes"
    amount, unit = next(
        (count / size, unit)
        for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3))
        if count >= 0.9995 * size
    )
    digits = 1 if amount < 9.95 else 0
    return f"{amount:.{digits}f}".removesuffix(".0") + f" {unit}"
