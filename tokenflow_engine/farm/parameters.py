"""The parameters of a job, once for all: command line, Open Job Description and Flamenco."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class FarmParameter:
    """One parameter of a job.

    flow: of a path: whether a job reads it ("IN"), writes it too ("INOUT") or finds it installed
        ("NONE"). default: None where it must be given.
    """

    name: str
    kind: Literal["file", "folder", "text", "count"]
    description: str
    default: str | int | None = None
    flow: Literal["IN", "INOUT", "NONE"] | None = None

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return "--" + self.spoken("-")

    @property
    def setting(self) -> str:
        """Its name among a Flamenco job's settings."""
        return self.spoken("_")

    def spoken(self, separator: str) -> str:
        """ "BatchesPerTask" as "batches-per-task"."""
        parts = "".join(f" {c.lower()}" if c.isupper() else c for c in self.name).split()
        return separator.join(parts).replace(f"add{separator}on", "addon")

    def openjd(self) -> dict[str, Any]:
        """Its definition in a job template."""
        types = {"file": "PATH", "folder": "PATH", "text": "STRING", "count": "INT"}
        found: dict[str, Any] = {"name": self.name, "type": types[self.kind]}
        if self.flow is not None:
            found["objectType"] = "FILE" if self.kind == "file" else "DIRECTORY"
            found["dataFlow"] = self.flow
        if self.kind == "count":
            found["minValue"] = 1
        found["description"] = self.description
        if self.default is not None:
            found["default"] = self.default
        return found

    def flamenco(self) -> dict[str, Any]:
        """Its entry among a Flamenco job type's settings."""
        types = {"file": "string", "folder": "string", "text": "string", "count": "int32"}
        found: dict[str, Any] = {"key": self.setting, "type": types[self.kind]}
        if self.kind in ("file", "folder"):
            found["subtype"] = "file_path" if self.kind == "file" else "dir_path"
        found["required"] = self.default is None
        if self.default is not None:
            found["default"] = self.default
        found["description"] = self.description
        return found


PARAMETERS = (
    FarmParameter("Title", "text", "What the farm's monitor shows", "edit list"),
    FarmParameter("Shot", "file", "The .blend with the strips; it is only read", flow="IN"),
    FarmParameter(
        "JobFolder",
        "folder",
        "Folder on shared storage that holds edit_list.json and receives all results",
        flow="INOUT",
    ),
    FarmParameter("Edits", "text", "Numbers of the edits in the edit list, such as 0-9"),
    FarmParameter("Batches", "text", "Numbers of the batches of all edits, such as 0-119"),
    FarmParameter("Pieces", "text", "Numbers of the pieces of all edits, such as 0-19"),
    FarmParameter(
        "BatchesPerTask",
        "count",
        "Batches that one inversion task takes; a farm may change it to suit its pace",
        8,
    ),
    FarmParameter(
        "AddOn",
        "folder",
        "Folder of the add-on (an unpacked zip or a checkout) as the workers see it",
        flow="NONE",
    ),
    FarmParameter("Blender", "text", "Blender's program on the workers, 4.5 or newer", "blender"),
    FarmParameter(
        "EnginePython", "text", "The Python of the engine's environment on the workers", "python3"
    ),
    FarmParameter(
        "EngineIdleSeconds",
        "count",
        "Seconds without work after which a worker's engine ends by itself",
        900,
    ),
)
DERIVED = ("Edits", "Batches", "Pieces", "Title")
"""Parameters that follow from the edit list."""
