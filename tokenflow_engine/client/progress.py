"""What an edit reports while it runs, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PHASES = ("prepare", "invert", "correspond", "edit", "decode")
"""In the order they run. `prepare` reads the frames and loads the model."""


@dataclass(frozen=True)
class Progress:
    """One report.

    phase: a name out of `PHASES`.
    done, total: units of work within the phase (mostly UNet calls); total is at least 1.
    eta_seconds: estimated seconds to the end of the whole edit, None while unknown.
    """

    phase: str
    done: int
    total: int
    eta_seconds: float | None = None

    @property
    def place(self) -> tuple[int, int]:
        """The phase's number, counted from 1 (0 for an unknown one), and how many there are."""
        number = PHASES.index(self.phase) + 1 if self.phase in PHASES else 0
        return number, len(PHASES)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Progress:
        eta = fields.get("eta_seconds")
        return cls(
            str(fields["phase"]),
            int(fields["done"]),
            int(fields["total"]),
            None if eta is None else float(eta),
        )


ProgressCallback = Callable[[Progress], None]
CancelCheck = Callable[[], bool]


@dataclass(frozen=True)
class EditResult:
    """A finished edit on disk.

    output: absolute folder holding `00000.png` ... and `edit.json`.
    frame_count: pictures written, one for each source frame in range, in order.
    width, height: pixels of each picture.
    fps: frames a second of the source, None for a folder of images.
    seconds: wall-clock time for each phase by name.
    reconstruction_psnr: dB between the source frames and their inversion sampled back without an
        edit, None where it was not measured.
    peak_memory_mb: {"host": MiB, "device": MiB} at their highest; "device" with accelerators only.
    warnings: sentences the user should read (for example the words a too long prompt lost).
    scores: "warp_error" of the edit and "source_warp_error", in grey levels of 255.
    stability: the scores in words, for example "Very stable."; empty where there are none.
    preview_of: the source's frames, counted from 0, that a preview's pictures show; else empty.
    """

    output: str
    frame_count: int
    width: int
    height: int
    fps: float | None
    seconds: dict[str, float]
    reconstruction_psnr: float | None = None
    peak_memory_mb: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    stability: str = ""
    preview_of: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> EditResult:
        lists = {name: tuple(fields.get(name, ())) for name in ("warnings", "preview_of")}
        return cls(**{**fields, **lists})
