"""A blank picture of a given size, so that Blender learns a strip's size without decoding a frame.

`strips.new_image` decodes the file it is given while the window waits, and that is the only way to
tell a strip its size. A blank JPEG takes a third of a blank PNG's time. Above all, the first PNG
that a Blender opens costs it 75 to 125 ms, the first JPEG 1.5 ms (5.2.2, processor time).
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

_BLOCK = 8
"""Pixels on a side of what a JPEG codes together."""


def blank_jpeg(width: int, height: int) -> bytes:
    """A grey JPEG without colour (ITU-T T.81, baseline), up to 65500 pixels on a side.

    Of each block the mean does not differ from the last one's and nothing else follows: with codes
    of one bit for these two, a block takes two bits, both 0.
    """
    bits = 2 * -(-width // _BLOCK) * -(-height // _BLOCK)
    whole, rest = divmod(bits, 8)
    # The last byte is filled up with ones.
    scan = bytes(whole) + (bytes([0xFF >> rest]) if rest else b"")
    one_code = bytes([1, *[0] * 15, 0])
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xDB, bytes([0, *[1] * 64])),
            _segment(0xC0, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)),
            _segment(0xC4, b"\x00" + one_code),
            _segment(0xC4, b"\x10" + one_code),
            _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
            scan,
            b"\xff\xd9",
        )
    )


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


@contextmanager
def stand_in(size: tuple[int, int]) -> Iterator[Path]:
    """The path of a blank picture of that size; the file goes at the end."""
    with tempfile.TemporaryDirectory(prefix="tokenflow_", dir=bpy.app.tempdir) as folder:
        path = Path(folder) / "blank.jpg"
        path.write_bytes(blank_jpeg(*size))
        yield path
