"""Where an edit is. Alone in its file: panels and handlers load nothing else for it."""

from __future__ import annotations

import enum


class Stage(enum.Enum):
    """Where an edit is; it only moves downwards in this list, until it is tried again."""

    WAITING = "waiting"
    """In line; the strip was measured and nothing was rendered yet."""
    READING = "reading"
    """The strip's frames are rendered."""
    ENGINE = "engine"
    """The engine has it."""
    PLACING = "placing"
    """The frames are there, the strip is not yet: a render or a drag is in the way."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNPLACED = "unplaced"
    """The edited frames are there and found no place in the project that is open."""
    INTERRUPTED = "interrupted"
    """Blender ended before it did."""

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self not in (Stage.WAITING, Stage.READING, Stage.ENGINE, Stage.PLACING)

    @property
    def can_be_retried(self) -> bool:
        return self in (Stage.FAILED, Stage.CANCELLED, Stage.INTERRUPTED)
