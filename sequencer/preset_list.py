"""The presets as Blender shows them: rows of a list, the one chosen, a search.

No postponed annotations here: Blender reads the properties out of the classes' annotations.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bl_operators.presets import AddPresetBase
from bpy.props import BoolProperty, CollectionProperty, IntProperty, PointerProperty, StringProperty
from bpy.types import Context, PropertyGroup, WindowManager

from ..installation.own_folders import ADDON, PACKAGE_ROOT
from .compatibility import sequencer_scene
from .queue_timer import redraw_sidebars
from .settings import EditFields, request_template

if TYPE_CHECKING:
    from .preset_file import Preset
    from .preset_library import PresetLibrary, StoredPreset

_library: "PresetLibrary | None" = None
_is_registered = False


class TokenFlowPresetRow(PropertyGroup):
    """One preset in the list; `name` is Blender's own field of each row."""

    key: StringProperty(options={"HIDDEN"})
    own: BoolProperty(options={"HIDDEN"})
    favourite: BoolProperty(options={"HIDDEN"})
    for_embedded: BoolProperty(options={"HIDDEN"})
    any_model: BoolProperty(options={"HIDDEN"})
    searched: StringProperty(options={"HIDDEN"})


class TokenFlowPresetList(PropertyGroup):
    """What the panel shows of the library; filled by `show_presets`."""

    rows: CollectionProperty(type=TokenFlowPresetRow, options={"HIDDEN"})
    active: IntProperty(name="Preset", description="The preset that the buttons act on")
    search: StringProperty(
        name="Search",
        description="Show only presets with these words in their name, prompt or description",
        options={"TEXTEDIT_UPDATE"},
    )
    only_favourites: BoolProperty(name="Favourites", description="Show only favourites")
    only_own: BoolProperty(
        name="Own", description="Show only presets that you have saved or imported"
    )
    only_suiting: BoolProperty(
        name="For This Model",
        description="Show only presets whose words the chosen model knows",
    )
    revision: StringProperty(options={"HIDDEN"})


def preset_library() -> "PresetLibrary":
    """The presets of this user, loaded when first asked for; there are none before `register`."""
    global _library
    if not _is_registered:
        raise RuntimeError("TokenFlow Edit is not registered")
    if _library is None:
        from .preset_library import PresetLibrary

        own = Path(bpy.utils.extension_path_user(ADDON, path="presets"))
        _library = PresetLibrary(PACKAGE_ROOT / "presets", own, AddPresetBase.as_filename)
    if not _library.revision:
        _library.load()
    return _library


def show_presets(context: Context, choose: str = "") -> None:
    """Fill the list from the library, and choose the preset of this key, else the one that was."""
    library, shown = preset_library(), context.window_manager.tokenflow_presets
    chosen = chosen_preset(context.window_manager) if shown.revision else None
    key = choose or (chosen.key if chosen is not None else "")
    shown.rows.clear()
    for stored in sorted(library.presets, key=lambda s: s.preset.name.casefold()):
        row = shown.rows.add()
        row.name, row.key, row.own = stored.preset.name, stored.key, stored.own
        row.favourite = stored.key in library.favourites
        row.for_embedded = stored.preset.model == "embedded"
        prompt = str(stored.preset.values.get("prompt", ""))
        row.any_model = not prompt
        row.searched = f"{stored.preset.name} {stored.preset.description} {prompt}"
    keys = [row.key for row in shown.rows]
    if key in keys:
        shown.active = keys.index(key)
    elif keys:
        shown.active = shown_order(shown, sequencer_scene(context).tokenflow)[0]
    shown.revision = library.revision
    redraw_sidebars()


def shown_order(shown: TokenFlowPresetList, settings: EditFields) -> list[int]:
    """Indices of the rows: favourites, own ones, those for the model that is chosen, the rest.

    Among equals, those without a prompt stand last.
    """

    def place(number: int) -> tuple[bool, bool, bool, bool, int]:
        row = shown.rows[number]
        unfit = not suits(row, settings)
        return not row.favourite, not row.own, unfit, row.any_model, number

    return sorted(range(len(shown.rows)), key=place)


def suits(row: TokenFlowPresetRow, settings: EditFields) -> bool:
    """Whether the preset's words are those of the model that is chosen."""
    return row.any_model or row.for_embedded == (not settings.model_folder)


def is_shown(window_manager: WindowManager) -> bool:
    """Whether the list holds what the library does; if not, it will at Blender's next turn.

    May be asked while drawing: looks at no disk and changes nothing itself.
    """
    revision = "" if _library is None else _library.revision
    if revision and revision == window_manager.tokenflow_presets.revision:
        return True
    if not bpy.app.timers.is_registered(_show):
        bpy.app.timers.register(_show)
    return False


def _show() -> None:
    show_presets(bpy.context)


def chosen_preset(window_manager: WindowManager) -> "StoredPreset | None":
    """The preset chosen in the list; looks at no disk."""
    shown = window_manager.tokenflow_presets
    if _library is None or not 0 <= shown.active < len(shown.rows):
        return None
    return _library.find(shown.rows[shown.active].key)


def preset_of(settings: EditFields, name: str, description: str) -> "Preset":
    """The settings as a preset. Their other fields belong to the strip or the machine."""
    from .preset_file import PRESET_FIELDS, Preset

    request = request_template(settings)
    values = {field: getattr(request, field) for field in PRESET_FIELDS}
    model = "embedded" if request.model == "embedded" else ""
    return Preset(name, values, description, model)


def apply_preset(settings: EditFields, preset: "Preset") -> None:
    """Write the preset's values into the settings; those it does not hold stay."""
    for name, value in preset.values.items():
        setattr(settings, name, value)


classes = (TokenFlowPresetRow, TokenFlowPresetList)


def register() -> None:
    global _is_registered
    for cls in classes:
        bpy.utils.register_class(cls)
    WindowManager.tokenflow_presets = PointerProperty(type=TokenFlowPresetList)
    _is_registered = True


def unregister() -> None:
    global _library, _is_registered
    _is_registered = False
    if bpy.app.timers.is_registered(_show):
        bpy.app.timers.unregister(_show)
    _library = None
    del WindowManager.tokenflow_presets
    for cls in reversed(classes):
        bpy.utils.unregister_class(cls)
