"""A blank picture of a given size, so that Blender learns a strip's size without decoding a frame.

`strips.new_image` decodes the file it is given while the window waits, and that is the only way to
tell a strip its size. A blank one of one bit a pixel takes half as long or less as a real frame.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy


def blank_png(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel (ISO/IEC 15948)."""
    row = bytes(1 + (width + 7) // 8)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(row * height, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


@contextmanager
def stand_in(size: tuple[int, int]) -> Iterator[Path]:
    """The path of a blank picture of that size; the file goes at the end."""
    with tempfile.TemporaryDirectory(prefix="tokenflow_", dir=bpy.app.tempdir) as folder:
        path = Path(folder) / "blank.png"
        path.write_bytes(blank_png(*size))
        yield path
