"""The panel Presets: a list with a search, what the chosen one would fill in, and its buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpy.types import Context, Menu, Panel, UILayout, UIList

from ..operators.presets import (
    TOKENFLOW_OT_apply_preset,
    TOKENFLOW_OT_delete_preset,
    TOKENFLOW_OT_export_presets,
    TOKENFLOW_OT_favourite_preset,
    TOKENFLOW_OT_import_presets,
    TOKENFLOW_OT_save_preset,
)
from ..sequencer.compatibility import sequencer_scene
from ..sequencer.preset_list import (
    TokenFlowPresetList,
    TokenFlowPresetRow,
    chosen_preset,
    is_shown,
    preset_library,
    shown_order,
    suits,
)
from .wrapped_text import draw_wrapped

if TYPE_CHECKING:
    from ..sequencer.preset_file import Preset

_EDITOR_NAMES = {"pnp": "Plug-and-Play", "sdedit": "SDEdit"}


class TOKENFLOW_UL_presets(UIList):
    """Favourites first, then own ones, then those for the model that is chosen."""

    def draw_filter(self, context: Context, layout: UILayout) -> None:
        """Behind the arrow below the list; the search stands above it, where it is seen."""
        shown = context.window_manager.tokenflow_presets
        row = layout.row(align=True)
        row.prop(shown, "only_own", toggle=True)
        row.prop(shown, "only_suiting", toggle=True)

    def draw_item(
        self,
        context: Context,
        layout: UILayout,
        data: TokenFlowPresetList,
        item: TokenFlowPresetRow,
        icon: int,
        active_data: TokenFlowPresetList,
        active_property: str,
        index: int,
    ) -> None:
        row = layout.row(align=True)
        star = "SOLO_ON" if item.favourite else "SOLO_OFF"
        row.operator(
            TOKENFLOW_OT_favourite_preset.bl_idname, text="", icon=star, emboss=False
        ).preset = item.key
        name = row.row()
        # Grey on the chosen row's blue could not be read.
        name.active = index == data.active or suits(item, sequencer_scene(context).tokenflow)
        name.label(text=item.name, translate=False)
        if item.own:
            row.label(text="", icon="USER")

    def filter_items(
        self, context: Context, data: TokenFlowPresetList, property: str
    ) -> tuple[list[int], list[int]]:
        rows = data.rows
        words = data.search.casefold().split()
        flags = [
            self.bitflag_filter_item if _matches(context, data, row, words) else 0 for row in rows
        ]
        order = shown_order(data, sequencer_scene(context).tokenflow)
        # Blender wants each row's place, not the rows in their order.
        places = [0] * len(rows)
        for place, number in enumerate(order):
            places[number] = place
        return flags, places


class TOKENFLOW_MT_presets(Menu):
    bl_label = "Import and Export"

    def draw(self, context: Context) -> None:
        layout = self.layout
        layout.operator(TOKENFLOW_OT_import_presets.bl_idname, text="Import...", icon="IMPORT")
        layout.separator()
        for which, text in (("CHOSEN", "Export Chosen..."), ("OWN", "Export All Own...")):
            layout.operator(
                TOKENFLOW_OT_export_presets.bl_idname, text=text, icon="EXPORT"
            ).which = which


class TOKENFLOW_PT_presets(Panel):
    bl_label = "Presets"
    bl_space_type = "SEQUENCE_EDITOR"
    bl_region_type = "UI"
    bl_category = "TokenFlow"
    bl_order = 1

    def draw(self, context: Context) -> None:
        layout = self.layout
        shown = context.window_manager.tokenflow_presets
        if not is_shown(context.window_manager):
            layout.label(text="Reading the presets...")
            return
        _draw_search(layout, shown)
        row = layout.row()
        row.template_list("TOKENFLOW_UL_presets", "", shown, "rows", shown, "active", rows=6)
        _draw_list_buttons(row.column(align=True))
        for problem in preset_library().problems:
            draw_wrapped(layout.box(), context, problem, alert=True)
        stored = chosen_preset(context.window_manager)
        if stored is not None:
            _draw_chosen(layout, context, stored.preset)


def _draw_search(layout: UILayout, shown: TokenFlowPresetList) -> None:
    row = layout.row(align=True)
    row.prop(shown, "search", text="", icon="VIEWZOOM", placeholder="Search")
    row.prop(shown, "only_favourites", text="", icon="SOLO_ON")


def _draw_list_buttons(column: UILayout) -> None:
    column.operator(TOKENFLOW_OT_save_preset.bl_idname, text="", icon="ADD")
    column.operator(TOKENFLOW_OT_delete_preset.bl_idname, text="", icon="REMOVE")
    column.separator()
    column.menu(TOKENFLOW_MT_presets.__name__, text="", icon="DOWNARROW_HLT")


def _draw_chosen(layout: UILayout, context: Context, preset: Preset) -> None:
    box = layout.box()
    if preset.description:
        draw_wrapped(box, context, preset.description)
    prompt = str(preset.values.get("prompt", ""))
    if prompt:
        draw_wrapped(box, context, f"\u201c{prompt}\u201d")
    strengths = box.column()
    strengths.active = False
    draw_wrapped(strengths, context, strengths_text(preset))
    if prompt and (preset.model == "embedded") != _is_embedded(context):
        _draw_other_model(box, context, preset)
    button = layout.row()
    button.scale_y = 1.3
    button.operator(TOKENFLOW_OT_apply_preset.bl_idname, icon="CHECKMARK")


def _draw_other_model(box: UILayout, context: Context, preset: Preset) -> None:
    if preset.model == "embedded":
        box.label(text="For the demonstration model", icon="INFO")
        draw_wrapped(box, context, "To use it, leave Model empty under Advanced.")
    else:
        box.label(text="Needs a Stable Diffusion model", icon="INFO")
        draw_wrapped(
            box,
            context,
            "The demonstration model does not know these words. Choose another under Advanced.",
        )


def strengths_text(preset: Preset) -> str:
    """What the preset sets besides texts, for example "Plug-and-Play, guidance 7.5, 50 steps"."""
    values = preset.values
    editor = values.get("editor")
    parts = [] if editor is None else [_EDITOR_NAMES[str(editor)]]
    if "guidance_scale" in values:
        parts.append(f"guidance {values['guidance_scale']:g}")
    if editor != "sdedit":
        parts += [
            f"{word} {values[name]:.0%}"
            for name, word in (("pnp_attention", "attention"), ("pnp_features", "features"))
            if name in values
        ]
    if editor != "pnp" and "sdedit_start" in values:
        parts.append(f"strength {values['sdedit_start']:.0%}")
    if "steps" in values:
        parts.append(f"{values['steps']} steps")
    return ", ".join(parts)


def _matches(
    context: Context, shown: TokenFlowPresetList, row: TokenFlowPresetRow, words: list[str]
) -> bool:
    if (shown.only_favourites and not row.favourite) or (shown.only_own and not row.own):
        return False
    if shown.only_suiting and not suits(row, sequencer_scene(context).tokenflow):
        return False
    text = row.searched.casefold()
    return all(word in text for word in words)


def _is_embedded(context: Context) -> bool:
    return not sequencer_scene(context).tokenflow.model_folder


classes = (TOKENFLOW_UL_presets, TOKENFLOW_MT_presets, TOKENFLOW_PT_presets)
