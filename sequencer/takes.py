"""The takes of a strip: every edit of it, and of its edits, that lies beside it in the Sequencer.

Nothing is kept about them but the marks on the strips themselves, so that undo, saving and copying
cannot make the list wrong. Pieces that a take was cut into carry one mark and are one take.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.types import Scene, Strip

from .compatibility import left_handle, parent_strips, right_handle
from .prefetch import prefetch_silenced

_OWN_FILES = re.compile(r"\d{5,}\.(png|exr)|edit\.json")


@dataclass(frozen=True)
class Take:
    """One edit in the Sequencer; valid until Blender runs on.

    strips: its pieces from left to right, mostly one.
    """

    uid: str
    strips: tuple[Strip, ...]

    @property
    def name(self) -> str:
        return self.strips[0].name

    @property
    def channel(self) -> int:
        return max(strip.channel for strip in self.strips)

    @property
    def is_shown(self) -> bool:
        return not all(strip.mute for strip in self.strips)

    @property
    def folder(self) -> Path | None:
        """Where its pictures are."""
        folder = self.strips[0].tokenflow.folder
        return _absolute(folder) if folder else None


@dataclass(frozen=True)
class Takes:
    """What was edited and all edits of it; valid until Blender runs on.

    originals: the strips that the first edit was made from, empty if they are gone.
    takes: the lowest channel first.
    """

    originals: tuple[Strip, ...]
    takes: tuple[Take, ...]

    @property
    def shown(self) -> Take | None:
        """The uppermost take that is not muted; None if the original shows."""
        return next((take for take in reversed(self.takes) if take.is_shown), None)

    def find(self, uid: str) -> Take | None:
        return next((take for take in self.takes if take.uid == uid), None)


def takes_of(scene: Scene, strip: Strip | None) -> Takes | None:
    """The takes that a strip is the source or one of; None if there are none."""
    # A strip that nothing was made from, nor was made, has no mark: most are told at once.
    if strip is None or not strip.tokenflow.uid:
        return None
    made_from: dict[str, str] = {}
    pieces: dict[str, list[Strip]] = {}
    for other in scene.sequence_editor.strips_all:
        kept = other.tokenflow
        uid = kept.uid
        if uid:
            pieces.setdefault(uid, []).append(other)
            if kept.source_uid:
                made_from[uid] = kept.source_uid
    root = _root(strip.tokenflow.uid, made_from)
    takes = [
        Take(uid, tuple(sorted(pieces[uid], key=left_handle)))
        for uid in made_from
        if uid != root and _root(uid, made_from) == root
    ]
    if not takes:
        return None
    takes.sort(key=lambda take: (take.channel, take.name))
    return Takes(tuple(sorted(pieces.get(root, ()), key=left_handle)), tuple(takes))


def _root(uid: str, made_from: dict[str, str]) -> str:
    """What the chain of edits that ends in a strip began with."""
    seen = {uid}
    while (before := made_from.get(uid)) is not None and before not in seen:
        seen.add(before)
        uid = before
    return uid


def show_only(takes: Takes, shown: Take | None) -> None:
    """Unmute one take and mute the others; the original shows if it is None."""
    for take in takes.takes:
        for strip in take.strips:
            strip.mute = shown is None or take.uid != shown.uid
    if shown is None:
        for strip in takes.originals:
            strip.mute = False


def piece_at(strips: Iterable[Strip], frame: int) -> Strip | None:
    """The strip that covers a timeline frame, else the first; None if there are none."""
    strips = list(strips)
    covering = (s for s in strips if left_handle(s) <= frame < right_handle(s))
    return next(covering, strips[0] if strips else None)


def select_only(scene: Scene, strip: Strip) -> None:
    """Make a strip the only one selected, and active."""
    editor = scene.sequence_editor
    for other in editor.strips_all:
        other.select = False
    strip.select = True
    editor.active_strip = strip


def remove_strips(scene: Scene, names: Iterable[str]) -> None:
    """Take strips out of the Sequencer, wherever they lie; those that are gone are passed over."""
    editor = scene.sequence_editor
    with prefetch_silenced(editor):
        for name in names:
            # Removing one may take effects along that were made from it.
            strip = editor.strips_all.get(name)
            if strip is not None:
                parent_strips(editor, strip).remove(strip)


def own_files(take: Take) -> list[Path]:
    """The pictures and the `edit.json` of a take in its folder; nothing else that lies there."""
    folder = take.folder
    if folder is None:
        return []
    names = {element.filename for strip in take.strips for element in strip.elements}
    return [folder / name for name in sorted({*names, "edit.json"}) if _OWN_FILES.fullmatch(name)]


def others_that_need(take: Take) -> list[str]:
    """Names of strips outside a take, and of images, that show pictures out of its folder."""
    folder = take.folder
    if folder is None:
        return []
    own = {strip.as_pointer() for strip in take.strips}
    needing = [
        strip.name
        for scene in bpy.data.scenes
        if scene.sequence_editor is not None
        for strip in scene.sequence_editor.strips_all
        if strip.type == "IMAGE"
        and strip.as_pointer() not in own
        and _absolute(strip.directory) == folder
    ]
    return needing + [
        image.name
        for image in bpy.data.images
        if image.filepath and _absolute(image.filepath).parent == folder
    ]


def _absolute(path: str) -> Path:
    return Path(os.path.normpath(bpy.path.abspath(path)))
