"""Models fetched from a hub on loopback: resumed, checked, refused; nothing else is contacted."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_hub import ModelHub, models_command, serving

from tokenflow_engine.diffusion.hub import TRANSFER_BLOCK, is_wanted
from tokenflow_engine.diffusion.model import model_folder

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(checkout: Path, tmp_path: Path) -> Iterator[ModelHub]:
    """A real small pipeline, with what else lies in such repositories."""
    folder = tmp_path / "repository"
    shutil.copytree(checkout / "tests" / "golden" / "pipeline", folder)
    (folder / UNET).write_bytes(random.Random(0).randbytes(3_000_000))
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"variant")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / "pipeline.py").write_text("raise SystemExit")
    with serving(ModelHub(folder)) as served:
        yield served


def models(hub: ModelHub, *arguments: str) -> dict[str, Any]:
    """The last message of `tokenflow models ...`, with the highest progress."""
    return models_command(hub.address, *arguments, HF_HUB_OFFLINE="1")


def asked_for(hub: ModelHub, path: str) -> list[str]:
    return [part for name, part in hub.requests if name == path]


def test_size_and_licence_are_told_before_anything_is_fetched(
    checkout: Path, hub: ModelHub
) -> None:
    told = models(hub, "describe", "studio/small")["done"]
    assert told["licence"] == "openrail" and 3_000_000 < told["size"] < 8_000_000
    assert not hub.requests
    closed = models(hub, "describe", "studio/none")["error"]
    assert "no model studio/none" in closed["message"] and closed["remedy"]


def test_fetched_model_is_complete_without_pickles_code_and_variants(
    checkout: Path, hub: ModelHub, tmp_path: Path
) -> None:
    sent = hub.cut_after = 16 * TRANSFER_BLOCK
    hub.cuts = 2
    told = models(hub, "fetch", "studio/small", str(tmp_path / "models"))
    assert "done" in told, told
    folder = Path(told["done"]["folder"])
    assert folder == tmp_path / "models" / "studio--small"
    assert model_folder(str(folder)) == folder
    assert (folder / UNET).read_bytes() == (hub.folder / UNET).read_bytes()
    assert asked_for(hub, UNET) == ["", f"bytes={sent}-", f"bytes={2 * sent}-"]
    names = {path.name for path in folder.rglob("*")}
    assert not names & {"pipeline.py", "diffusion_pytorch_model.bin"}
    assert not [name for name in names if "fp16" in name or name.endswith(".part")]
    hub.requests.clear()
    assert "done" in models(hub, "fetch", "studio/small", str(tmp_path / "models"))
    assert not hub.requests, "it is there"


def test_process_that_ended_midway_is_gone_on_with_by_the_next(
    checkout: Path, hub: ModelHub, tmp_path: Path
) -> None:
    (hub.folder / "unet" / "config.json").touch()
    part = tmp_path / "models" / ".studio--small.0123456789ab.part" / f"{UNET}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((hub.folder / UNET).read_bytes()[:1_234_567])
    told = models(hub, "fetch", "studio/small", str(tmp_path / "models"))
    assert "done" in told, told
    assert asked_for(hub, UNET) == ["bytes=1234567-"]
    fetched = tmp_path / "models" / "studio--small" / UNET
    assert fetched.read_bytes() == (hub.folder / UNET).read_bytes()


def test_damaged_weights_and_closed_models_are_refused_with_a_remedy(
    checkout: Path, hub: ModelHub, tmp_path: Path
) -> None:
    hub.spoil = 1
    told = models(hub, "fetch", "studio/small", str(tmp_path / "models"))
    assert "damaged" in told["error"]["message"] and told["error"]["remedy"]
    assert not (tmp_path / "models" / "studio--small").exists()
    hub.spoil, hub.gated = 0, True
    told = models(hub, "fetch", "studio/small", str(tmp_path / "models"))
    assert "not open to everybody" in told["error"]["message"]
    (hub.folder / UNET).unlink()
    told = models(hub, "describe", "studio/small")
    assert told["error"]["code"] == "unsafe_model"


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("model_index.json", True),
        (UNET, True),
        ("text_encoder/model.safetensors", True),
        ("unet/diffusion_pytorch_model-00001-of-00002.safetensors", True),
        ("unet/diffusion_pytorch_model.safetensors.index.json", True),
        ("tokenizer/merges.txt", True),
        ("unet/diffusion_pytorch_model.non_ema.safetensors", False),
        ("unet/diffusion_pytorch_model.bin", False),
        ("safety_checker/model.safetensors", False),
        ("v1-5-pruned.safetensors", False),
        ("unet/run.py", False),
    ],
)
def test_only_what_the_pipeline_loads_is_wanted(path: str, wanted: bool) -> None:
    assert is_wanted(path) is wanted
