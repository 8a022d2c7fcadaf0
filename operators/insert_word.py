"""Words of the demonstration model, put into the prompt by a click."""

from bpy.props import StringProperty
from bpy.types import Context, Operator

from ..sequencer.compatibility import sequencer_scene


class TOKENFLOW_OT_insert_word(Operator):
    """Put this word at the end of the prompt"""

    bl_idname = "tokenflow.insert_word"
    bl_label = "Insert Word"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    word: StringProperty(name="Word", description="What to put there", options={"SKIP_SAVE"})

    def execute(self, context: Context) -> set[str]:
        settings = sequencer_scene(context).tokenflow
        settings.prompt = f"{settings.prompt.rstrip()} {self.word.strip()}".strip()
        return {"FINISHED"}


classes = (TOKENFLOW_OT_insert_word,)
