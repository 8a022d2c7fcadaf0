"""Buttons of the panel Presets. What they do to files is `sequencer.preset_library`'s."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy.types import Context, Event, Operator, OperatorProperties
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ..sequencer.compatibility import sequencer_scene
from ..sequencer.preset_list import (
    apply_preset,
    chosen_preset,
    preset_library,
    preset_of,
    show_presets,
)
from ..tokenflow_engine.client.errors import TokenFlowError

if TYPE_CHECKING:
    from ..sequencer.preset_library import StoredPreset

_WORDS_OF_A_NAME = 4


class _OfOnePreset:
    """An operator on the preset whose key it is given, else on the one chosen in the list."""

    preset: StringProperty(
        name="Preset",
        description='The preset, for example "bundled:Oil Painting" or "own:My Look"; '
        "empty for the one chosen in the list",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls: Any, context: Context) -> bool:
        if context.window_manager.tokenflow_presets.rows and _chosen(context) is None:
            cls.poll_message_set("No preset is chosen in the list.")
            return False
        return True

    def stored(self: Any, context: Context) -> "StoredPreset | None":
        """The preset; None after a report that there is none."""
        library = preset_library()
        found = library.find(self.preset) if self.preset else _chosen(context)
        if found is None:
            self.report({"ERROR"}, f'There is no preset "{self.preset}". Choose one in the list.')
        return found


class TOKENFLOW_OT_apply_preset(_OfOnePreset, Operator):
    """Fill in the prompt and the strengths that the chosen preset holds; the rest stays"""

    bl_idname = "tokenflow.apply_preset"
    bl_label = "Apply Preset"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> set[str]:
        stored = self.stored(context)
        if stored is None:
            return {"CANCELLED"}
        apply_preset(sequencer_scene(context).tokenflow, stored.preset)
        self.report({"INFO"}, f"{stored.preset.name} is filled in")
        return {"FINISHED"}


class TOKENFLOW_OT_save_preset(Operator):
    """Keep the prompt and the strengths of the panel as a preset of your own"""

    bl_idname = "tokenflow.save_preset"
    bl_label = "Save Preset"
    # Files are not undone, so that this is no undo step.
    bl_options = {"REGISTER", "INTERNAL"}

    name: StringProperty(name="Name", description="Name of the preset", options={"SKIP_SAVE"})
    description: StringProperty(
        name="Description", description="What it is good for; may be empty", options={"SKIP_SAVE"}
    )
    replace: BoolProperty(
        name="Replace",
        description="Replace your preset of this name by what the panel shows now",
        default=False,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not sequencer_scene(context).tokenflow.prompt.strip():
            cls.poll_message_set("The prompt is empty. Type what the strip should show.")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> set[str]:
        if not self.name:
            words = sequencer_scene(context).tokenflow.prompt.replace(",", " ").split()
            self.name = " ".join(words[:_WORDS_OF_A_NAME]).capitalize()
        return context.window_manager.invoke_props_dialog(self, confirm_text="Save")

    def check(self, context: Context) -> bool:
        return True

    def draw(self, context: Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "name")
        layout.prop(self, "description")
        taken = preset_library().named(self.name)
        if taken is not None and taken.own:
            layout.prop(self, "replace", text=f'Replace "{taken.preset.name}"')
        elif taken is not None:
            layout.label(text="A bundled preset has this name: use another", icon="ERROR")

    def execute(self, context: Context) -> set[str]:
        settings = sequencer_scene(context).tokenflow
        with _reporting(self) as outcome:
            preset = preset_of(settings, self.name, self.description.strip())
            key = preset_library().save(preset, replace_own=self.replace)
            show_presets(context, key)
        return outcome


class TOKENFLOW_OT_delete_preset(_OfOnePreset, Operator):
    """Delete the chosen preset of your own, with its file"""

    bl_idname = "tokenflow.delete_preset"
    bl_label = "Delete Preset"
    bl_options = {"REGISTER", "INTERNAL"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        chosen = _chosen(context)
        if chosen is not None and not chosen.own:
            cls.poll_message_set("This preset comes with the add-on. Only own ones can be deleted.")
            return False
        return super().poll(context)

    def invoke(self, context: Context, event: Event) -> set[str]:
        stored = self.stored(context)
        if stored is None:
            return {"CANCELLED"}
        return context.window_manager.invoke_confirm(
            self, event, title=f'Delete "{stored.preset.name}"?', confirm_text="Delete"
        )

    def execute(self, context: Context) -> set[str]:
        stored = self.stored(context)
        if stored is None:
            return {"CANCELLED"}
        with _reporting(self) as outcome:
            preset_library().delete(stored.key)
            show_presets(context)
        return outcome


class TOKENFLOW_OT_favourite_preset(_OfOnePreset, Operator):
    """Mark this preset as a favourite, or no longer; favourites stand first"""

    bl_idname = "tokenflow.favourite_preset"
    bl_label = "Favourite"
    bl_options = {"INTERNAL"}

    def execute(self, context: Context) -> set[str]:
        stored = self.stored(context)
        if stored is None:
            return {"CANCELLED"}
        library = preset_library()
        with _reporting(self) as outcome:
            library.set_favourite(stored.key, stored.key not in library.favourites)
            show_presets(context)
        return outcome


class TOKENFLOW_OT_import_presets(ImportHelper, Operator):
    """Add the presets of a JSON file to your own; nothing in it is executed"""

    bl_idname = "tokenflow.import_presets"
    bl_label = "Import Presets"
    bl_options = {"REGISTER", "INTERNAL"}

    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    def execute(self, context: Context) -> set[str]:
        with _reporting(self) as outcome:
            names = preset_library().import_file(Path(bpy.path.abspath(self.filepath)))
            show_presets(context, f"own:{names[0]}" if names else "")
            self.report({"INFO"}, _imported(names))
        return outcome


class TOKENFLOW_OT_export_presets(ExportHelper, Operator):
    """Write presets to a JSON file that others can import"""

    bl_idname = "tokenflow.export_presets"
    bl_label = "Export Presets"
    bl_options = {"REGISTER", "INTERNAL"}

    filename_ext = ".json"
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})
    which: EnumProperty(
        name="Presets",
        description="Which presets to write",
        items=(
            ("CHOSEN", "Chosen Preset", "The one chosen in the list"),
            ("OWN", "All Own Presets", "All that you have saved or imported"),
        ),
        default="CHOSEN",
    )

    @classmethod
    def description(cls, context: Context, properties: OperatorProperties) -> str:
        if properties.which == "OWN":
            return "Write all your own presets to a JSON file that others can import"
        return "Write the chosen preset to a JSON file that others can import"

    def invoke(self, context: Context, event: Event) -> set[str]:
        chosen = _chosen(context)
        stem = "tokenflow_presets"
        if self.which == "CHOSEN" and chosen is not None:
            stem = bpy.path.clean_name(chosen.preset.name)
        self.filepath = str(Path(bpy.data.filepath).with_name(f"{stem}.json"))
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Context) -> set[str]:
        library = preset_library()
        chosen = _chosen(context)
        presets = [stored.preset for stored in library.presets if stored.own]
        if self.which == "CHOSEN":
            presets = [] if chosen is None else [chosen.preset]
        if not presets:
            self.report({"ERROR"}, "There is nothing to export. Choose or save a preset first.")
            return {"CANCELLED"}
        file = Path(bpy.path.abspath(self.filepath))
        with _reporting(self) as outcome:
            library.export_file(file, presets)
            self.report({"INFO"}, f"{_counted(len(presets))} written to {file.name}")
        return outcome


@contextmanager
def _reporting(operator: Operator) -> Iterator[set[str]]:
    """What the operator ends with: finished, or cancelled with the error's sentence."""
    outcome = {"FINISHED"}
    try:
        yield outcome
    except TokenFlowError as error:
        outcome.clear()
        outcome.add("CANCELLED")
        operator.report({"ERROR"}, str(error))


def _chosen(context: Context) -> "StoredPreset | None":
    return chosen_preset(context.window_manager)


def _counted(number: int) -> str:
    return "1 preset" if number == 1 else f"{number} presets"


def _imported(names: list[str]) -> str:
    if not names:
        return "All presets of this file are here already"
    return f"{_counted(len(names))} imported: {', '.join(names)}"


classes = (
    TOKENFLOW_OT_apply_preset,
    TOKENFLOW_OT_save_preset,
    TOKENFLOW_OT_delete_preset,
    TOKENFLOW_OT_favourite_preset,
    TOKENFLOW_OT_import_presets,
    TOKENFLOW_OT_export_presets,
)
