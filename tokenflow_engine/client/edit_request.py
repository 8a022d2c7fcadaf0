"""The one description of an edit that panel, command line, socket and Python share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .embedded_words import EMBEDDED, require_known_words
from .errors import TokenFlowError

EDITORS = ("pnp", "sdedit")
MODES = ("smooth", "paper", "reference")
REGIONS = ("auto", "everywhere")
QUALITIES = ("final", "draft")
INVERSION_SOLVERS = ("auto", "implicit", "adams_bashforth", "ddim")
DEVICES = ("auto", "cpu", "cuda", "mps")
LAST_PHASES = ("decode", "edit", "invert")
PICTURE_FORMATS = ("png8", "png16", "exr")
RESULT_SIZES = ("source", "edit")
COMPILING = ("auto", "always", "never")
DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")

BOUNDS: dict[str, tuple[float, float]] = {
    "steps": (1, 1000),
    "inversion_steps": (1, 1000),
    "guidance_scale": (0.0, 100.0),
    "seed": (0, 2**31 - 1),
    "chunk": (1, 64),
    "processes": (1, 64),
    "piece_frames": (0, 100_000),
    "piece": (0, 100_000),
    "window": (0, 4096),
    "pnp_attention": (0.0, 1.0),
    "pnp_features": (0.0, 1.0),
    "sdedit_start": (0.05, 1.0),
    "steadying": (0, 8),
    "variation": (0.0, 1.0),
    "preview_frames": (0, 8),
}
"""Inclusive range of each number in an `EditRequest`."""

CHOICES: dict[str, tuple[str, ...]] = {
    "editor": EDITORS,
    "mode": MODES,
    "region": REGIONS,
    "quality": QUALITIES,
    "inversion_solver": INVERSION_SOLVERS,
    "device": DEVICES,
    "dtype": DTYPES,
    "compile": COMPILING,
    "last_phase": LAST_PHASES,
    "picture_format": PICTURE_FORMATS,
    "result_size": RESULT_SIZES,
}

PICTURE_SUFFIXES = {"png8": ".png", "png16": ".png", "exr": ".exr"}

DRAFT_STEPS = 12
"""Most steps of a draft's edit, and as many of its inversion."""

LATENT_CELL = 8
"""Pixels a latent cell covers in each direction for Stable Diffusion's autoencoder."""


@dataclass(frozen=True)
class EditRequest:
    """Everything one edit depends on; equal requests on one device give equal frames.

    source: a movie file or a folder of numbered images.
    prompt: what the result shows. negative_prompt: what it must not show.
    source_prompt: what the source shows; helps the inversion, may be empty.
    output: folder for `%05d.png` or `%05d.exr` and `edit.json`; made if missing.
    model: "embedded", a folder in diffusers layout, or a single .safetensors file.
    editor: base editor, "pnp" (Plug-and-Play) or "sdedit".
    mode: propagation of the keyframes' features, one of `MODES`.
    quality: "final", or "draft", which is lossy: quicker and coarser, to try prompts with. A draft
        takes at most `DRAFT_STEPS` steps; in the self-attention with the most tokens it sees every
        second one in each direction; and it is decoded by the model's tiny autoencoder, if it has
        one. Not in mode "reference".
    steps, inversion_steps: DDIM steps of the edit and of the inversion. The released code takes 50
        and 500; with the implicit solver 25 keep the source and edit as well, as measured in
        docs/evaluation.md.
    inversion_solver: how the inversion steps. "implicit" undoes the edit's own DDIM steps, at one
        UNet call each and more where the frames need them; "adams_bashforth" is of second order;
        "ddim" is plain DDIM, as in the released code. "auto" is "ddim" in mode "reference" and
        "implicit" elsewhere.
    guidance_scale: classifier-free guidance, 1 switches it off; in the units of Stable Diffusion
        (a model may say that it answers more strongly, see `DiffusionModel.guidance_gain`).
    chunk: frames per UNet call, and the stretch that one keyframe is drawn from.
    window: keyframes that are edited in one UNet call; more come in windows, one after the other. 0
        takes all up to 16 and windows of 8 beyond, except in mode "reference", which takes all.
    pnp_attention, pnp_features: share of the steps, [0, 1], in which the source's queries and keys
        or its features are injected.
    sdedit_start: share of the diffusion, (0, 1], that SDEdit runs.
    variation: share, [0, 1], of fresh noise in what the edit starts from, drawn by the seed. At 0
        that is the source's own noise, and the seed draws nothing but the keyframes.
    preview_frames: frames, spread over the clip, that are edited jointly and alone, to judge a
        prompt in seconds; 0 for the whole clip.
    region: where the edit may change the picture: "auto" only where the prompt and the source
        prompt disagree, or "everywhere". Needs a source prompt; only in mode "smooth".
    steadying: frames before and after each one that it is averaged with along the source's motion,
        against flicker; 0 for none. Only in mode "smooth".
    frames: (first, last + 1) into the source, None for all.
    size: (width, height) in pixels, each a multiple of 8; None fits the source's own size.
    compile: whether the UNet's blocks are compiled before the edit, which takes a minute or two and
        makes each call faster: "auto" where the edit is long enough to repay that on this GPU, and
        never on a CPU. A compiled model's frames differ by rounding.
    processes: share the edit among so many processes of this machine, each with the whole model, on
        a GPU of its own where there are several.
    picture_format: "png8" or "png16", PNG of 8 or 16 bits, or "exr", OpenEXR of linear half
        floats. All keep the source's alpha.
    result_size: "source" brings the edited frames to the source's own resolution, "edit" leaves
        them at the size they were edited at. A size that was asked for and is larger stays.
    keyframe_schedule: JSON file holding, for each denoising step, the keyframes' frame indices.
    trajectory: safetensors file to write all latents of the run to.
    piece_frames: frames of a long clip that are edited apart from the others, in pieces that share
        anchors and overlap (`tokenflow.pieces`); 0 edits the clip as a whole. Not in mode
        "reference", nor by several processes.
    piece: the piece that last_phase "edit" edits, from 0.
    last_phase: "decode" for the whole edit. The others leave their part in the cache, where the
        whole edit finds it, and write nothing to `output`. "edit" only edits one piece. "invert"
        only inverts the frames; their range then starts at a multiple of `chunk` counted from the
        whole edit's first frame.
    """

    source: str
    prompt: str
    output: str
    model: str = EMBEDDED
    editor: str = "pnp"
    negative_prompt: str = ""
    source_prompt: str = ""
    quality: str = "final"
    steps: int = 25
    inversion_steps: int = 25
    inversion_solver: str = "auto"
    guidance_scale: float = 7.5
    seed: int = 0
    chunk: int = 8
    window: int = 0
    mode: str = "smooth"
    pnp_attention: float = 0.5
    pnp_features: float = 0.8
    sdedit_start: float = 0.9
    region: str = "auto"
    steadying: int = 3
    variation: float = 0.0
    preview_frames: int = 0
    frames: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    device: str = "auto"
    dtype: str = "auto"
    compile: str = "auto"
    processes: int = 1
    picture_format: str = "png8"
    result_size: str = "source"
    keyframe_schedule: str | None = None
    trajectory: str | None = None
    piece_frames: int = 0
    piece: int = 0
    last_phase: str = "decode"

    def validated(self, *, any_words: bool = False) -> EditRequest:
        """Return self.

        any_words: let words pass that the embedded model does not know.

        Raises:
            TokenFlowError: code "bad_request", for the first field that is out of bounds;
                "unknown_words" (see `require_known_words`). Only the values are checked; the engine
                checks files and models when it opens them.
        """
        if not self.prompt.strip():
            raise _bad("The prompt is empty.", "Type what the strip should show.")
        for name in ("source", "output"):
            path = getattr(self, name)
            if not path:
                raise _bad(f"No {name} was given.", f"Name the {name}.")
            if "\0" in path:
                raise _bad(f"The {name} is not a path.", f"Name the {name}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise _bad(
                    f"{name} is {getattr(self, name)!r}.", f"Choose one of {', '.join(choices)}."
                )
        for name, (low, high) in BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise _bad(
                    f"{_spoken(name)} is {getattr(self, name)}.",
                    f"Choose a value from {low:g} to {high:g}.",
                )
        if self.size is not None and any(n < 64 or n % LATENT_CELL for n in self.size):
            fitted = "x".join(str(max(64, round(n / LATENT_CELL) * LATENT_CELL)) for n in self.size)
            raise _bad(
                f"The size {self.size[0]}x{self.size[1]} does not fit the model: each side must be "
                f"a multiple of {LATENT_CELL} and at least 64 pixels.",
                f"Use {fitted}.",
            )
        if self.piece_frames and (self.mode == "reference" or self.processes > 1):
            raise _bad(
                "A clip cannot be edited in pieces in mode reference, nor by several processes.",
                "Set piece_frames to 0, or choose another mode and one process.",
            )
        if self.is_draft and self.mode == "reference":
            raise _bad(
                "Mode reference makes no drafts: it does what the authors' released code does.",
                "Choose another mode, or quality final.",
            )
        if self.frames is not None and not 0 <= self.frames[0] < self.frames[1]:
            raise _bad(
                f"The frame range {self.frames[0]}:{self.frames[1]} is empty.",
                "Give first:last+1, counted from 0.",
            )
        if not any_words:
            require_known_words(self)
        return self

    @property
    def is_draft(self) -> bool:
        return self.quality == "draft"

    @property
    def steps_taken(self) -> int:
        """Denoising steps of the edit at the request's quality."""
        return min(self.steps, DRAFT_STEPS) if self.is_draft else self.steps

    @property
    def inversion_steps_taken(self) -> int:
        """Steps of the inversion at the request's quality."""
        return min(self.inversion_steps, DRAFT_STEPS) if self.is_draft else self.inversion_steps

    @property
    def solver(self) -> str:
        """The inversion's solver by its own name, with "auto" decided."""
        if self.inversion_solver != "auto":
            return self.inversion_solver
        return "ddim" if self.mode == "reference" else "implicit"

    @property
    def source_depth(self) -> int:
        """Bits of each colour that frames rendered for this edit need, 8 or 16."""
        return 8 if self.picture_format == "png8" else 16

    def picture_name(self, index: int) -> str:
        """File name of a picture in the output folder, counted from 0."""
        return f"{index:05d}{PICTURE_SUFFIXES[self.picture_format]}"

    @property
    def finds_region(self) -> bool:
        """Whether the edit is kept to where the prompts disagree."""
        asked = self.region == "auto" and self.mode == "smooth"
        return asked and bool(self.source_prompt.strip())

    @property
    def steady_radius(self) -> int:
        """Frames on each side that a frame is averaged with; a preview's are no neighbours."""
        return self.steadying if self.mode == "smooth" and not self.preview_frames else 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EditRequest:
        """Build and validate a request from parsed JSON.

        Raises:
            TokenFlowError: code "bad_request", for an unknown or missing field, a value of the
                wrong type or one out of bounds.
        """
        known = {field.name: field for field in fields(cls)}
        for name in values:
            if name not in known:
                raise _bad(f"The request has an unknown field {name!r}.", "Remove it.")
        for name in ("source", "prompt", "output"):
            if name not in values:
                raise _bad(f"The request lacks {name!r}.", "Add it.")
        cast = {name: _cast(name, str(known[name].type), value) for name, value in values.items()}
        return cls(**cast).validated()

    def resolved(self) -> EditRequest:
        """The same request with every path absolute, so that another process can use it."""
        paths = {
            name: str(Path(value).expanduser().resolve())
            for name in ("source", "output", "keyframe_schedule", "trajectory")
            if (value := getattr(self, name))
        }
        if self.model != EMBEDDED:
            paths["model"] = str(Path(self.model).expanduser().resolve())
        return EditRequest(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **paths})


def _bad(message: str, remedy: str) -> TokenFlowError:
    return TokenFlowError("bad_request", message, remedy)


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _cast(name: str, annotation: str, value: Any) -> Any:
    """Check one JSON value against the field's annotation; integers are welcome as floats."""
    if value is None and "None" in annotation:
        return None
    if annotation.startswith("tuple[int, int]"):
        if (
            isinstance(value, (list, tuple))
            and len(value) == 2
            and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
        ):
            return (value[0], value[1])
        raise _bad(f"{_spoken(name)} is {value!r}.", "Give two whole numbers.")
    if annotation.startswith("str") and isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise _bad(f"{_spoken(name)} is {value!r}.", "Give a number.")
    if annotation == "int" and isinstance(value, int):
        return value
    if annotation == "float" and isinstance(value, (int, float)) and value == value:
        return float(value)
    raise _bad(f"{_spoken(name)} is {value!r}.", f"Give a value of type {annotation}.")
