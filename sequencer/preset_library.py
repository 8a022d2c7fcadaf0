"""Bundled and own presets, read once and kept in memory: drawing a panel must not wait for a disk.

Why not all of Blender's `AddPresetBase` with `register_preset_path`: those write Python or XML into
the user's scripts, and their menu applies a preset by executing the file. Ours are JSON in the
add-on's own folder. What fits is taken from `AddPresetBase`: how a name becomes a file's name.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..tokenflow_engine.client.errors import TokenFlowError
from .preset_file import MAX_NAME, Preset, checked_name, read_presets, write_presets

_FAVOURITES = "favourites.json"


@dataclass(frozen=True)
class StoredPreset:
    """A preset and where it lies."""

    preset: Preset
    own: bool
    file: Path

    @property
    def key(self) -> str:
        """What names it among all presets."""
        return f"{'own' if self.own else 'bundled'}:{self.preset.name}"


class PresetLibrary:
    """All presets of this user.

    bundled: folder with the add-on's own JSON files, never written to.
    own: folder for the user's, one file each; made when the first is saved.
    file_stem: what a preset's name becomes in the file's name.
    """

    def __init__(self, bundled: Path, own: Path, file_stem: Callable[[str], str]) -> None:
        self._bundled, self._own, self._file_stem = bundled, own, file_stem
        self.presets: tuple[StoredPreset, ...] = ()
        self.favourites: frozenset[str] = frozenset()
        self.problems: tuple[str, ...] = ()
        """A sentence for each own file that cannot be read."""
        self.revision = ""
        """Changes with each change of the presets; empty until they are read."""

    def load(self) -> None:
        """Read everything anew. A broken file of the user's is left out and named in `problems`."""
        found: list[StoredPreset] = []
        problems: list[str] = []
        for file in sorted(self._bundled.glob("*.json")):
            found += [StoredPreset(preset, False, file) for preset in read_presets(file)]
        for file in sorted(self._own.glob("*.json")):
            if file.name == _FAVOURITES:
                continue
            try:
                found += [StoredPreset(preset, True, file) for preset in read_presets(file)]
            except TokenFlowError as error:
                problems.append(str(error))
        by_key: dict[str, StoredPreset] = {}
        for stored in found:
            by_key.setdefault(stored.key, stored)
        self.presets = tuple(by_key.values())
        self.problems = tuple(problems)
        self.favourites = self._read_favourites()
        self.revision = uuid.uuid4().hex

    def find(self, key: str) -> StoredPreset | None:
        return next((stored for stored in self.presets if stored.key == key), None)

    def named(self, name: str) -> StoredPreset | None:
        """The preset of this name, own or bundled, whatever its capitals."""
        wanted = name.strip().casefold()
        return next((s for s in self.presets if s.preset.name.casefold() == wanted), None)

    def save(self, preset: Preset, *, replace_own: bool = False) -> str:
        """Keep the preset as one of the user's own; return its key.

        Raises:
            TokenFlowError: the name is empty or taken, or the file cannot be written.
        """
        name = checked_name(preset.name)
        taken = self.named(name)
        if taken is not None and not taken.own:
            raise TokenFlowError(
                "bad_request", f'"{taken.preset.name}" comes with the add-on.', "Use another name."
            )
        if taken is not None and not replace_own:
            raise TokenFlowError(
                "bad_request",
                f'There is a preset "{taken.preset.name}" already.',
                "Use another name, or tick Replace.",
            )
        with _saying(f'The preset "{name}" could not be saved.'):
            self._keep(replace(preset, name=name), None if taken is None else taken.file)
        if taken is not None and taken.preset.name != name and taken.key in self.favourites:
            self._write_favourites(self.favourites - {taken.key} | {f"own:{name}"})
        self.load()
        return f"own:{name}"

    def delete(self, key: str) -> None:
        """Delete one of the user's own.

        Raises:
            TokenFlowError: it is not theirs, or cannot be deleted.
        """
        stored = self.find(key)
        if stored is None or not stored.own:
            raise TokenFlowError(
                "bad_request", "This preset comes with the add-on.", "Only own ones can be deleted."
            )
        with _saying(f'The preset "{stored.preset.name}" could not be deleted.'):
            self._drop(stored)
        if key in self.favourites:
            self._write_favourites(self.favourites - {key})
        self.load()

    def set_favourite(self, key: str, favourite: bool) -> None:
        """Raises TokenFlowError if that cannot be written down."""
        self._write_favourites(self.favourites | {key} if favourite else self.favourites - {key})
        self.load()

    def import_file(self, file: Path) -> list[str]:
        """Add a file's presets to the user's own; return the names they got, all or none.

        A name that is taken gets a number; a preset that is here already is passed over.

        Raises:
            TokenFlowError: the file is no preset file, or the presets cannot be written.
        """
        here = [stored.preset for stored in self.presets]
        names = {preset.name.casefold() for preset in here}
        new: list[Preset] = []
        for preset in read_presets(file):
            if preset not in here:
                free = _free_name(preset.name, names)
                names.add(free.casefold())
                new.append(replace(preset, name=free))
        written: list[Path] = []
        try:
            with _saying(f'The presets of "{file.name}" could not be saved.'):
                for preset in new:
                    # Noted one by one: those before a failure are to be taken back.
                    written.append(self._keep(preset, None))  # noqa: PERF401
        except TokenFlowError:
            for path in written:
                path.unlink(missing_ok=True)
            raise
        self.load()
        return [preset.name for preset in new]

    def export_file(self, file: Path, presets: Sequence[Preset]) -> None:
        """Write presets to a file of the user's choice; what was there stays if that fails.

        Raises:
            TokenFlowError: it cannot be written.
        """
        with _saying(f'"{file.name}" could not be written.'):
            _replace_file(file, write_presets(presets))

    def _keep(self, preset: Preset, over: Path | None) -> Path:
        self._own.mkdir(parents=True, exist_ok=True)
        stem = self._file_stem(preset.name) or "preset"
        file, number = over or self._own / f"{stem}.json", 2
        while over is None and (file.exists() or file.name == _FAVOURITES):
            file, number = self._own / f"{stem}_{number}.json", number + 1
        name = preset.name.casefold()
        others = [p for p in self._in_file(over) if p.name.casefold() != name]
        _replace_file(file, write_presets([*others, preset]))
        return file

    def _in_file(self, file: Path | None) -> list[Preset]:
        """A file that the user laid into the folder may hold several."""
        return [stored.preset for stored in self.presets if stored.file == file]

    def _drop(self, stored: StoredPreset) -> None:
        others = [preset for preset in self._in_file(stored.file) if preset != stored.preset]
        if others:
            _replace_file(stored.file, write_presets(others))
        else:
            stored.file.unlink(missing_ok=True)

    def _read_favourites(self) -> frozenset[str]:
        with suppress(OSError, ValueError):
            found = json.loads((self._own / _FAVOURITES).read_text(encoding="utf-8"))
            if isinstance(found, list):
                return frozenset(key for key in found if isinstance(key, str))
        return frozenset()

    def _write_favourites(self, keys: frozenset[str]) -> None:
        with _saying("The favourites could not be saved."):
            self._own.mkdir(parents=True, exist_ok=True)
            _replace_file(self._own / _FAVOURITES, json.dumps(sorted(keys), indent=1))


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 2
    while free.casefold() in taken:
        tail = f" {number}"
        free, number = name[: MAX_NAME - len(tail)] + tail, number + 1
    return free


def _replace_file(file: Path, text: str) -> None:
    """Write the whole file or nothing: a crash must not cut a preset in half."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _saying(sentence: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TokenFlowError(
            "no_space",
            sentence,
            "Check that there is space and that the folder may be written to.",
            str(error),
        ) from error
