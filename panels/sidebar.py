"""The tab TokenFlow in the Sequencer's sidebar. Nothing here looks at the disk."""

from __future__ import annotations

from bpy.app.translations import pgettext_iface
from bpy.types import Context, Panel, UILayout

from ..operators.edit_strip import TOKENFLOW_OT_edit_strip
from ..operators.open_edit_file import TOKENFLOW_OT_open_edit_file
from ..sequencer.compatibility import sequencer_scene
from ..sequencer.queue_timer import edit_queue
from ..sequencer.settings import TokenFlowSettings, is_custom
from ..sequencer.source_strip import obstacle, strips_to_edit
from .edit_boxes import draw_refusal
from .preview import draw_preview_button
from .queue import draw_queue
from .vocabulary import draw_vocabulary


class TOKENFLOW_PT_edit(Panel):
    bl_label = "TokenFlow Edit"
    bl_space_type = "SEQUENCE_EDITOR"
    bl_region_type = "UI"
    bl_category = "TokenFlow"

    def draw(self, context: Context) -> None:
        layout = self.layout
        settings = sequencer_scene(context).tokenflow
        _draw_strip_name(layout, context)
        _draw_prompts(layout, settings)
        draw_vocabulary(layout, context, settings)
        button = layout.row()
        button.scale_y = 1.6
        button.operator(TOKENFLOW_OT_edit_strip.bl_idname, icon="SHADERFX")
        draw_preview_button(layout, settings)
        queue = edit_queue()
        if queue.refusal is not None:
            draw_refusal(layout, context, queue.refusal)
        draw_queue(layout, context)
        _draw_main_settings(layout, settings)
        heading, advanced = layout.panel("tokenflow_advanced", default_closed=True)
        heading.label(text="Advanced")
        if advanced is not None:
            _draw_advanced(advanced, settings)


def _draw_strip_name(layout: UILayout, context: Context) -> None:
    strips = strips_to_edit(context)
    if not strips:
        layout.label(text="No strip selected", icon="INFO")
        return
    refused = sum(obstacle(strip) is not None for strip in strips)
    name = strips[0].name
    if len(strips) > 1:
        name = pgettext_iface("{count} strips, an edit for each").format(count=len(strips))
    if refused and len(strips) > 1:
        text = pgettext_iface("{name}; {count} cannot be edited")
        name = text.format(name=name, count=refused)
    layout.label(text=name, icon="ERROR" if refused else "SEQUENCE")


def _draw_prompts(layout: UILayout, settings: TokenFlowSettings) -> None:
    column = layout.column(align=True)
    column.label(text="Prompt")
    column.prop(settings, "prompt", text="", placeholder="What the strip should show")
    others = layout.column(align=True)
    others.use_property_split = True
    others.use_property_decorate = False
    others.prop(settings, "source_prompt", placeholder="What it shows now")
    others.prop(settings, "negative_prompt", placeholder="What it must not show")


def _draw_main_settings(layout: UILayout, settings: TokenFlowSettings) -> None:
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    quality = column.row()
    # The released code's way has no draft, and an edit that asks for one is refused.
    quality.active = settings.mode != "reference" or settings.quality == "draft"
    quality.prop(settings, "quality", expand=True)
    column.prop(settings, "editor")
    _draw_freedom(column, settings)
    numbers = column.column(align=True)
    numbers.prop(settings, "steps")
    numbers.prop(settings, "seed")
    numbers.prop(settings, "variation", slider=True)


def _draw_freedom(layout: UILayout, settings: TokenFlowSettings) -> None:
    """One slider with its two ends named; strengths that it cannot show are called custom."""
    column = layout.column(align=True)
    column.use_property_split = False
    ends = column.row()
    ends.label(text="Fidelity")
    end = ends.row()
    end.alignment = "RIGHT"
    end.label(text="Freedom")
    slider = column.row(align=True)
    if is_custom(settings):
        slider.active = False
        slider.prop(settings, "freedom", text="Custom", slider=True)
    else:
        slider.prop(settings, "freedom", text="", slider=True)


def _draw_advanced(layout: UILayout, settings: TokenFlowSettings) -> None:
    layout.use_property_split = True
    layout.use_property_decorate = False
    strengths = layout.column(align=True)
    strengths.prop(settings, "guidance_scale")
    if settings.editor == "pnp":
        strengths.prop(settings, "pnp_attention")
        strengths.prop(settings, "pnp_features")
    else:
        strengths.prop(settings, "sdedit_start")
    layout.prop(settings, "mode")
    ours = layout.column(align=True)
    ours.active = settings.mode == "smooth"
    ours.prop(settings, "region")
    ours.prop(settings, "steadying")
    numbers = layout.column(align=True)
    numbers.prop(settings, "inversion_steps")
    numbers.prop(settings, "chunk")
    layout.prop(settings, "use_size")
    size = layout.column(align=True)
    size.active = settings.use_size
    size.prop(settings, "size", index=0, text="Width")
    size.prop(settings, "size", index=1, text="Height")
    layout.prop(settings, "model_folder", placeholder="Demonstration model")
    layout.prop(settings, "device")
    layout.prop(settings, "dtype")
    layout.prop(settings, "picture_format")
    layout.prop(settings, "frames_folder", placeholder="As in the preferences")
    layout.operator(TOKENFLOW_OT_open_edit_file.bl_idname, icon="IMPORT")


classes = (TOKENFLOW_PT_edit,)
