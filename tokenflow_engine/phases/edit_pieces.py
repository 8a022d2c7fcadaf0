"""Phase 3 for a long clip in pieces: each edited into the cache, by any process, then joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import torch

from ..client.errors import TokenFlowError
from ..media.latents import LatentStore
from ..tokenflow.keyframes import chunks
from ..tokenflow.pieces import Piece, pieces_of, schedule_of, share_of
from ..tokenflow.wiring import Wiring
from .cache import key_of
from .correspond import correspond, correspondence_units
from .edit_region import EditRegion, with_region
from .invert import Inversion, latents_layout
from .joint_edit import FINAL, edit_in_place, edit_key, edit_units, initial_rows
from .latent_rows import LatentRows, RowsOnDisk
from .run import EditRun

PIECE = "edit-piece"


def piece_runs(run: EditRun) -> list[tuple[Piece, EditRun]]:
    """The pieces that the request asks for, and the run of each; one piece is the run itself."""
    found = pieces_of(run.frame_count, run.request.piece_frames, run.request.chunk)
    if len(found) == 1:
        return [(found[0], run)]
    return [
        (
            piece,
            replace(
                run,
                only=piece.frames,
                keyframes=schedule_of(piece, run.keyframes, run.frame_count),
            ),
        )
        for piece in found
    ]


def plan_pieces(run: EditRun, runs: list[EditRun]) -> None:
    """Tell the meter what the pieces that are not in the cache will take; it is all one phase."""
    units: Counter[str] = Counter()
    for part in runs:
        if not run.cache.find(PIECE, piece_key(part)):
            units += Counter(correspondence_units(part)) + Counter(edit_units(part))
    run.meter.plan("correspond", 0)
    run.meter.plan("edit", with_region(run, units))


def chosen_piece(run: EditRun) -> EditRun:
    """The run of the piece that the request names.

    Raises:
        TokenFlowError: code "bad_request", if there is no such piece.
    """
    runs = piece_runs(run)
    if run.request.piece >= len(runs):
        raise TokenFlowError(
            "bad_request",
            f"The clip has no piece {run.request.piece}.",
            f"Choose within 0-{len(runs) - 1}.",
        )
    return runs[run.request.piece][1]


def piece_key(part: EditRun) -> str:
    """Of a piece in the cache; the same in every process that edits the clip."""
    return key_of({"edit": edit_key(part), "only": part.only})


def edit_piece(
    part: EditRun, wiring: Wiring, inversion: Inversion, region: EditRegion | None
) -> LatentRows:
    """Clean latents of the piece's frames, out of the cache or edited into it.

    inversion, region: the whole clip's.

    Raises:
        Cancelled: at the next UNet call after the user has cancelled.
    """

    def make(store: LatentStore) -> None:
        shape, dtype = latents_layout(part)
        store.create(FINAL, (len(part.frames), *shape[1:]), dtype)
        latents = RowsOnDisk(store, FINAL, part.frames)
        for frames, rows in initial_rows(part, inversion):
            latents[frames] = rows
        correspondences = correspond(part, wiring, inversion)
        edit_in_place(part, wiring, inversion, correspondences, latents, region=region)

    store = part.cache.obtain(PIECE, piece_key(part), make)
    return RowsOnDisk(store, FINAL, part.frames)


def join(
    runs: list[tuple[Piece, EditRun]],
    wiring: Wiring,
    inversion: Inversion,
    region: EditRegion | None,
    latents: LatentRows,
) -> None:
    """Add up the clip's latents, zeros so far, from its pieces, which are edited where they are not
    in the cache."""
    for piece, part in runs:
        edited = edit_piece(part, wiring, inversion, region)
        for frames, weights in _shares(piece, part):
            rows = edited[frames]
            share = torch.tensor(weights, dtype=torch.float32)[:, None, None, None]
            shared = share * rows.float()
            latents[frames] = (latents[frames].float() + shared).to(rows.dtype)


def _shares(piece: Piece, part: EditRun) -> Iterator[tuple[list[int], list[float]]]:
    """Frames, some at a time, in which the piece has a share, and the shares."""
    chunk = part.request.chunk
    shares = share_of(piece, part.frames, part.frame_count, chunk)
    kept = [pair for pair in zip(part.frames, shares, strict=True) if pair[1] > 0]
    for some in chunks(kept, chunk):
        yield [frame for frame, _ in some], [share for _, share in some]
