"""Files of a package index, fetched from one on loopback that misbehaves."""

from __future__ import annotations

import hashlib
import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from package_index import PackageIndex, serving, write_wheel

FILLER = 3_000_000


@pytest.fixture(scope="module")
def wheels(checkout: Path) -> Iterator[ModuleType]:
    """The module, which the installing program finds beside itself."""
    folder = str(checkout / "requirements")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("wheels")
    finally:
        sys.path.remove(folder)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "grass", "1.0", random.Random(0).randbytes(FILLER))
    with serving(PackageIndex(folder)) as served:
        yield served


class Fetching:
    """One file to fetch, and what was said about its progress."""

    def __init__(self, wheels: ModuleType, index: PackageIndex, folder: Path) -> None:
        (source,) = index.folder.glob("*.whl")
        self.content = source.read_bytes()
        self.wheel = wheels.Wheel(
            "grass",
            "1.0",
            index.address.replace("simple/", "files/") + source.name,
            hashlib.sha256(self.content).hexdigest(),
            len(self.content),
        )
        self.folder = folder
        self.gains: list[int] = []

    def fetch(self, wheels: ModuleType) -> bytes:
        path: Path = wheels.fetch(self.wheel, self.folder, self.gains.append)
        return path.read_bytes()


@pytest.fixture
def grass(wheels: ModuleType, index: PackageIndex, tmp_path: Path) -> Fetching:
    return Fetching(wheels, index, tmp_path)


def test_connection_that_breaks_goes_on_where_it_broke(
    wheels: ModuleType, index: PackageIndex, grass: Fetching
) -> None:
    index.cut_after, index.cuts = 1_000_000, 2
    assert grass.fetch(wheels) == grass.content
    assert [part for _, part in index.requests] == ["", "bytes=1000000-", "bytes=2000000-"]
    assert sum(grass.gains) == len(grass.content)
    assert grass.fetch(wheels) == grass.content and len(index.requests) == 3, "it is there"


def test_server_without_ranges_sends_the_whole_file_again(
    wheels: ModuleType, index: PackageIndex, grass: Fetching
) -> None:
    index.cut_after, index.cuts, index.with_ranges = 1_000_000, 1, False
    assert grass.fetch(wheels) == grass.content
    assert sum(grass.gains) == len(grass.content)


def test_damaged_file_is_fetched_once_more_and_then_refused(
    wheels: ModuleType, index: PackageIndex, grass: Fetching
) -> None:
    index.spoil = 1
    assert grass.fetch(wheels) == grass.content
    assert sum(grass.gains) == len(grass.content)
    (grass.folder / grass.wheel.file_name).unlink()
    index.spoil = 2
    with pytest.raises(Exception, match="arrived damaged twice"):
        grass.fetch(wheels)


def test_part_of_an_earlier_file_of_that_name_does_no_harm(
    wheels: ModuleType, index: PackageIndex, grass: Fetching
) -> None:
    part = grass.folder / f"{grass.wheel.file_name}.part"
    part.write_bytes(b"x" * 1000)
    assert grass.fetch(wheels) == grass.content


def test_server_that_wants_a_password_is_left_to_pip(
    wheels: ModuleType, index: PackageIndex, grass: Fetching
) -> None:
    index.password = True
    with pytest.raises(wheels.NotForUs):
        grass.fetch(wheels)


def test_server_that_is_not_there_is_a_sentence_and_keeps_what_arrived(
    wheels: ModuleType, index: PackageIndex, grass: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels.time, "sleep", lambda seconds: None)
    part = grass.folder / f"{grass.wheel.file_name}.part"
    part.write_bytes(grass.content[:1000])
    (index.folder / grass.wheel.file_name).unlink()
    with pytest.raises(Exception, match="the server answers 404"):
        grass.fetch(wheels)
    assert part.read_bytes() == grass.content[:1000]
