"""Models of the Hugging Face hub: what they are, and their files, fetched into a folder.

huggingface_hub finds, names and transfers; only the half of a file that an interrupted process left
is kept here, since `snapshot_download` begins such a file anew (huggingface_hub 2.4). Only the
weights that diffusers loads as safetensors are fetched, never a pickle and never code.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_url,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._headers import build_hf_headers

from ..client.errors import TokenFlowError
from ..client.model_hash import PARTS
from ..client.spoken import spoken_bytes
from .model import model_folder

CARD = "tokenflow-model.json"
"""File in a fetched model's folder that says where it came from."""

_WANTED = tuple(f"{part}/{name}" for part in PARTS for name in ("*.json", "*.txt"))
_WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(-\d{5}-of-\d{5})?\.safetensors")
_BLOCK = 1 << 22

TRANSFER_BLOCK = 1 << 16
"""Bytes that arrive before they are written: what a broken connection can lose at most."""

# huggingface_hub (2.4) gathers 10 MB before it writes, and throws away what it has gathered when
# the connection breaks: a line that breaks more often than that never ends. There is no parameter.
constants.DOWNLOAD_CHUNK_SIZE = TRANSFER_BLOCK


@dataclass(frozen=True)
class HubFile:
    """path: in the repository. size: bytes. sha256: hexadecimal, empty for small files."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class HubModel:
    """A model that can be fetched. revision: the commit that the files are of."""

    id: str
    revision: str
    licence: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def describe(model_id: str) -> HubModel:
    """Ask the hub what a model consists of.

    Raises:
        TokenFlowError: "unknown_model" where the hub has no such model, keeps it closed, or has it
            in another layout; "unsafe_model" where its weights are pickles only; "no_network".
    """
    with _explained(model_id):
        info = HfApi().model_info(model_id, files_metadata=True)
    licence = (info.card_data.get("license") if info.card_data else None) or "not stated"
    files = tuple(
        HubFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "")
        for s in info.siblings or ()
        if is_wanted(s.rfilename)
    )
    names = [s.rfilename for s in info.siblings or ()]
    if "model_index.json" not in names:
        raise TokenFlowError(
            "unknown_model",
            f"{model_id} is not in diffusers layout.",
            "Choose a Stable Diffusion 1 or 2 model with a model_index.json.",
        )
    if not any(file.path.startswith("unet/") and file.sha256 for file in files):
        raise TokenFlowError(
            "unsafe_model",
            f"{model_id} has no .safetensors weights.",
            "Choose a model whose weights are .safetensors; pickles can run code.",
        )
    return HubModel(model_id, info.sha or "main", str(licence), files)


def is_wanted(path: str) -> bool:
    """Whether a Stable Diffusion pipeline needs this file; variants like fp16 are left out."""
    if path == "model_index.json":
        return True
    folder, _, name = path.rpartition("/")
    if folder in ("unet", "vae", "text_encoder") and _WEIGHTS.fullmatch(name):
        return True
    return any(fnmatch.fnmatch(path, pattern) for pattern in _WANTED)


def fetch(model: HubModel, models: Path, gained: Callable[[int], None]) -> Path:
    """Fetch a model into a folder below `models`, where it appears whole or not at all.

    gained: called with the bytes that each block adds, also for what was there already.

    Raises:
        TokenFlowError: as `describe`; also "no_space", and "unknown_model" for files that are not
            what the hub promised. What has arrived is kept for the next attempt.
    """
    target = models / folder_name(model.id)
    if (target / CARD).is_file():
        gained(model.size)
        return target
    staging = models / f".{target.name}.{model.revision[:12]}.part"
    staging.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(staging).free
    missing = model.size - sum(f.stat().st_size for f in staging.rglob("*") if f.is_file())
    if free < missing:
        raise TokenFlowError(
            "no_space",
            f"{model.id} needs {spoken_bytes(missing)}; {spoken_bytes(free)} are free.",
            "Free some space, or choose a model folder on another disk.",
        )
    for file in model.files:
        _fetch_file(model, file, staging, gained)
    model_folder(str(staging))
    card = {**asdict(model), "files": len(model.files)}
    (staging / CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
    staging.replace(target)
    return target


def fetch_small_files(model_id: str, folder: Path) -> None:
    """Fetch what describes a model into a folder: configurations and vocabulary, no weights.

    Raises:
        TokenFlowError: as `describe`.
    """
    model = describe(model_id)
    for file in model.files:
        if not file.path.endswith(".safetensors"):
            _fetch_file(model, file, folder, lambda _count: None)


def folder_name(model_id: str) -> str:
    """A model's folder: "owner/name" becomes "owner--name"."""
    return model_id.replace("/", "--")


def _fetch_file(
    model: HubModel, file: HubFile, staging: Path, gained: Callable[[int], None]
) -> None:
    path = staging / file.path
    if path.is_file():
        gained(path.stat().st_size)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    have = part.stat().st_size if part.is_file() else 0
    gained(have)
    with _explained(model.id):
        url = hf_hub_url(model.id, file.path, revision=model.revision)
        metadata = get_hf_file_metadata(url)
        # A token is for the hub alone, not for the store that it may point to.
        headers = build_hf_headers() if metadata.location == url else {}
        with part.open("r+b" if have else "wb") as opened:
            opened.seek(have)
            counted: Any = _Counted(opened, gained)
            http_get(
                metadata.location,
                counted,
                resume_size=have,
                headers=headers,
                expected_size=file.size,
            )
    if file.sha256 and _digest(part) != file.sha256:
        gained(-part.stat().st_size)
        part.unlink()
        raise TokenFlowError(
            "unknown_model",
            f"{file.path} of {model.id} arrived damaged.",
            "Try again; the rest is kept.",
        )
    part.replace(path)


class _Counted:
    """A file that tells what is written to it."""

    def __init__(self, file: IO[bytes], gained: Callable[[int], None]) -> None:
        self._file = file
        self._gained = gained

    def write(self, data: bytes) -> int:
        self._gained(len(data))
        return self._file.write(data)

    def truncate(self, size: int | None = None) -> int:
        # What the server sends once more is counted once more.
        end = self._file.seek(0, 2)
        cut = self._file.truncate(size)
        self._file.seek(cut)
        self._gained(cut - end)
        return cut

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _explained(model_id: str) -> Iterator[None]:
    """The hub's refusals in the user's words."""
    try:
        yield
    except HFValidationError as error:
        raise TokenFlowError(
            "unknown_model", f'"{model_id}" is no name of a model.', "Write OWNER/NAME.", str(error)
        ) from error
    except GatedRepoError as error:
        raise TokenFlowError(
            "unknown_model",
            f"{model_id} is not open to everybody.",
            "Accept its licence on the hub and set HF_TOKEN, or choose another model.",
            str(error),
        ) from error
    except RepositoryNotFoundError as error:
        raise TokenFlowError(
            "unknown_model",
            f"The hub has no model {model_id}, or keeps it private.",
            "Check the spelling.",
            str(error),
        ) from error
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise _unreachable(error) from error
    except Exception as error:
        # The transport's own errors; which library they are of changes with the hub's releases.
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore2"):
            raise
        raise _unreachable(error) from error


def _unreachable(error: Exception) -> TokenFlowError:
    return TokenFlowError(
        "no_network",
        "The hub cannot be reached.",
        "Check the network, then try again; what has arrived is kept.",
        repr(error),
    )
