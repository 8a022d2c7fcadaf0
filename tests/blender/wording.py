"""Whatever an artist can hover over says what it is and what it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
from project import EXTENSION


def _operators() -> Iterator[bpy.types.Struct]:
    for name in dir(bpy.ops.tokenflow):
        yield getattr(bpy.ops.tokenflow, name).get_rna_type()


def _classes(kind: type) -> Iterator[type]:
    for cls in kind.__subclasses__():
        if cls.__module__.startswith(EXTENSION):
            yield cls
        yield from _classes(cls)


def _own_properties(struct: bpy.types.Struct, base: type) -> Iterator[bpy.types.Property]:
    inherited = {known.identifier for known in base.bl_rna.properties}
    for found in struct.properties:
        if found.identifier not in inherited and not found.is_hidden:
            yield found


def _owners_with_properties() -> Iterator[tuple[str, bpy.types.Property]]:
    for struct in _operators():
        for found in _own_properties(struct, bpy.types.Operator):
            yield struct.identifier, found
    for kind in (bpy.types.PropertyGroup, bpy.types.AddonPreferences):
        for cls in _classes(kind):
            for found in _own_properties(cls.bl_rna, kind):
                yield cls.__name__, found


def test_every_button_has_a_label_and_a_tooltip(work: Path) -> None:
    operators = list(_operators())
    assert len(operators) >= 11
    for struct in operators:
        assert struct.name and not struct.name.startswith("TOKENFLOW"), struct.identifier
        assert len(struct.description.split()) >= 4, struct.identifier
        assert not struct.description.endswith("."), "Blender adds the full stop"


def test_every_property_and_choice_has_a_name_and_a_tooltip(work: Path) -> None:
    found = list(_owners_with_properties())
    assert len(found) >= 40
    for owner, shown in found:
        where = f"{owner}.{shown.identifier}"
        assert shown.name and shown.name != shown.identifier, where
        assert shown.description, where
        assert not shown.description.endswith("."), f"{where}: Blender adds the full stop"
        for item in getattr(shown, "enum_items", ()):
            assert item.name and item.description, f"{where}: {item.identifier}"


def test_panels_and_menus_are_named(work: Path) -> None:
    panels = [*_classes(bpy.types.Panel), *_classes(bpy.types.Menu)]
    assert len(panels) >= 3
    for cls in panels:
        assert cls.bl_label, cls.__name__
