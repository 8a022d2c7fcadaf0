"""Clips as movie files, through the ffmpeg that imageio-ffmpeg brings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from numpy.typing import NDArray

from ..client.errors import TokenFlowError

Array = NDArray[Any]
QUALITY = "8"
"""x264's constant rate factor: compression that the eye, and the metrics, hardly see."""


def write_movie(path: Path, frames: Array, fps: float) -> None:
    """Writes uint8 frames [F, H, W, 3] (H and W even) as H.264; an older file is replaced.

    yuv420p with BT.709 tags is what every player and Blender read the same way.
    Raises TokenFlowError when the file can't be written.
    """
    height, width = frames.shape[1:3]
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    colours = ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *("-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{width}x{height}", "-r", str(fps), "-i", "-"),
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd"),
        *("-c:v", "libx264", "-crf", QUALITY, "-preset", "slow", "-pix_fmt", "yuv420p"),
        *colours,
        *("-movflags", "+faststart", str(temporary)),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=False)
    if done.returncode:
        temporary.unlink(missing_ok=True)
        raise TokenFlowError(
            "no_space",
            f"The clip {path.name} could not be written.",
            "Choose a folder that exists and has space.",
            done.stderr.decode(errors="replace"),
        )
    temporary.replace(path)
