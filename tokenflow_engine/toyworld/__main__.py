"""`python -m tokenflow_engine.toyworld CLIP.mp4`: a sample clip to try an edit on.

`... --evaluation-set DIR --clips N` writes the clips that `tokenflow evaluate` measures instead.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..client.embedded_words import ATTRIBUTES
from ..media.pictures import write_movie
from .clips import MOTIONS, edited, sample_clip
from .evaluation_set import CAPTIONS, write_evaluation_set


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m tokenflow_engine.toyworld",
        description="Write a clip of the toy world and print the prompt that describes it.",
    )
    arguments.add_argument("clip", type=Path, nargs="?", help="the movie file to write")
    arguments.add_argument(
        "--evaluation-set",
        type=Path,
        metavar="DIR",
        help="write clips with masks, exact flow and truths, for `tokenflow evaluate`, instead",
    )
    arguments.add_argument(
        "--clips", type=int, default=8, help="clips of the evaluation set (%(default)s)"
    )
    arguments.add_argument(
        "--first", type=int, default=0, help="number of its first clip (%(default)s)"
    )
    arguments.add_argument("--seed", type=int, default=11, help="which clip (%(default)s)")
    arguments.add_argument("--frames", type=int, default=16, help="(%(default)s)")
    arguments.add_argument("--size", type=int, default=128, help="pixels a side (%(default)s)")
    arguments.add_argument("--fps", type=float, default=12, help="(%(default)s)")
    arguments.add_argument("--motion", choices=MOTIONS, default="roll", help="(%(default)s)")
    start = {"look": "red", "shape": "ball", "ground": "grass", "sky": "blue"}
    for name, values in ATTRIBUTES.items():
        arguments.add_argument(
            f"--{name}", choices=values, default=start[name], help="(%(default)s)"
        )
    arguments.add_argument(
        "--truth",
        type=Path,
        metavar="MOVIE",
        help="also write what a perfect edit would give, with the attributes of --change",
    )
    arguments.add_argument(
        "--change",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an attribute of the perfect edit, as look=blue",
    )
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Writes the clip, prints its prompt; returns the exit code."""
    arguments = parser()
    options = arguments.parse_args(argv)
    if options.frames < 1 or options.size < 16 or options.size % 2:
        arguments.error("--frames must be at least 1, --size even and at least 16")
    if (options.clip is None) == (options.evaluation_set is None):
        arguments.error("give either a movie file to write or --evaluation-set DIR")
    if options.evaluation_set is not None:
        if options.clips < 1 or options.frames < 2 or options.first < 0:
            arguments.error("an evaluation set needs at least one clip of two frames")
        entries = write_evaluation_set(
            options.evaluation_set,
            options.clips,
            options.frames,
            options.size,
            start=options.first,
        )
        print(f"{len(entries)} clips are described in {options.evaluation_set / CAPTIONS}")
        return 0
    chosen = {name: getattr(options, name) for name in ATTRIBUTES}
    clip = sample_clip(
        options.seed, options.motion, options.frames, options.size, options.size, **chosen
    )
    write_movie(options.clip, clip.frames, options.fps)
    print(clip.caption)
    if options.truth is not None:
        changes = dict(change.partition("=")[::2] for change in options.change)
        for name, value in changes.items():
            if value not in ATTRIBUTES.get(name, ()):
                arguments.error(f"--change {name}={value}: no such attribute or value")
        truth = edited(clip, **changes)
        write_movie(options.truth, truth.frames, options.fps)
        print(truth.caption)
    return 0


if __name__ == "__main__":
    sys.exit(main())
