"""Checkpoints of one file: written under the original names, read back through diffusers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from model_hub import ModelHub, models_command, serving
from safetensors.torch import load_file, save_file
from torch import Tensor

from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.client.model_hash import fingerprint
from tokenflow_engine.client.single_file import configuration_of
from tokenflow_engine.diffusion.model import load_model
from tokenflow_engine.diffusion.prompts import embed
from tokenflow_engine.diffusion.single_file import base_model
from tokenflow_engine.service.capabilities import models

CPU = torch.device("cpu")
PIPELINE = Path(__file__).resolve().parent / "golden" / "pipeline"

_RESNET = (
    *(("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("norm2", "out_layers.0")),
    *(("conv2", "out_layers.3"), ("time_emb_proj", "emb_layers.1")),
    ("conv_shortcut", "skip_connection"),
)
_UNET = (
    *(("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2")),
    *(("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2")),
)
_VAE_ATTENTION = (
    *(("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v")),
    ("to_out.0", "proj_out"),
    *(("query", "q"), ("key", "k"), ("value", "v"), ("proj_attn", "proj_out")),
)
"""The second line: as diffusers named them once, and many folders still do."""


def unet_name(name: str) -> str:
    """A tensor's name in the checkpoints of Stable Diffusion 1 and 2 (four levels)."""
    for ours, theirs in _UNET:
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    levels = [("mid_block.resnets.0", "middle_block.0"), ("mid_block.resnets.1", "middle_block.2")]
    levels.append(("mid_block.attentions.0", "middle_block.1"))
    for level in range(4):
        for layer in range(2):
            place = f"input_blocks.{3 * level + layer + 1}"
            levels.append((f"down_blocks.{level}.resnets.{layer}", f"{place}.0"))
            levels.append((f"down_blocks.{level}.attentions.{layer}", f"{place}.1"))
        for layer in range(3):
            place = f"output_blocks.{3 * level + layer}"
            levels.append((f"up_blocks.{level}.resnets.{layer}", f"{place}.0"))
            levels.append((f"up_blocks.{level}.attentions.{layer}", f"{place}.1"))
        down = f"input_blocks.{3 * (level + 1)}.0.op"
        levels.append((f"down_blocks.{level}.downsamplers.0.conv", down))
        up = f"output_blocks.{3 * level + 2}.{2 if level else 1}"
        levels.append((f"up_blocks.{level}.upsamplers.0", up))
    for ours, theirs in levels:
        if name.startswith(f"{ours}."):
            rest = name.removeprefix(f"{ours}.")
            if "resnets" in ours:
                for inner, other in _RESNET:
                    rest = re.sub(rf"^{inner}\.", f"{other}.", rest)
            return f"{theirs}.{rest}"
    raise AssertionError(name)


def vae_name(name: str) -> str:
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    for kind, other in (("resnets", "block"), ("upsamplers.0", "upsample")):
        name = re.sub(
            rf"up_blocks\.(\d)\.{kind}", lambda m, to=other: f"up.{3 - int(m[1])}.{to}", name
        )
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    if "mid_block.attentions.0" in name:
        for ours, theirs in _VAE_ATTENTION:
            name = name.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}.")
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
    return name


def checkpoint(folder: Path, file: Path) -> Path:
    """Write a pipeline in diffusers layout as its authors would have: one file, their names."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in load_file(folder / "unet" / "diffusion_pytorch_model.safetensors").items():
        tensors[f"model.diffusion_model.{unet_name(name)}"] = tensor
    for name, tensor in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        original = f"first_stage_model.{vae_name(name)}"
        # Their attention's projections are convolutions of one pixel.
        is_projection = "attn_1" in original and "weight" in original and "norm" not in original
        tensors[original] = tensor[:, :, None, None] if is_projection else tensor
    for name, tensor in load_file(folder / "text_encoder" / "model.safetensors").items():
        inner = name.removeprefix("text_model.")
        tensors[f"cond_stage_model.transformer.text_model.{inner}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


def small_files(folder: Path, target: Path) -> None:
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return checkpoint(PIPELINE, tmp_path / "dreamy.safetensors")


def test_a_single_file_is_the_same_model_as_its_folder(file: Path) -> None:
    small_files(PIPELINE, file.with_suffix(""))
    one, other = (load_model(str(name), CPU, torch.float32) for name in (file, PIPELINE))
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    latents = torch.randn(2, 4, 16, 16)
    prompt = "a wolf in the snow"
    assert torch.equal(embed(one, prompt), embed(other, prompt))
    outputs = [model.predict_noise(latents, 481, embed(model, prompt)) for model in (one, other)]
    assert torch.equal(*outputs)
    assert one.schedule.timesteps(7) == other.schedule.timesteps(7)
    assert one.native_size == other.native_size


def test_a_single_file_loads_in_the_asked_precision(file: Path) -> None:
    small_files(PIPELINE, file.with_suffix(""))
    model = load_model(str(file), CPU, torch.bfloat16)
    assert {p.dtype for p in model.unet.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.vae.parameters()} == {torch.float32}


def test_the_configuration_stands_beside_the_file_or_is_asked_for(file: Path) -> None:
    with pytest.raises(TokenFlowError, match="configuration is not there") as refused:
        load_model(str(file), CPU, torch.float32)
    assert refused.value.code == "no_configuration" and "dreamy" in refused.value.remedy
    within = file.parent / "repository"
    small_files(PIPELINE, within)
    moved = file.rename(within / file.name)
    assert configuration_of(moved) == within
    assert load_model(str(moved), CPU, torch.float32).unet is not None


def test_the_hash_is_of_the_weights_and_their_configuration(file: Path) -> None:
    small_files(PIPELINE, file.with_suffix(""))
    before = fingerprint(file)
    copy = file.parent / "copies" / "other.safetensors"
    copy.parent.mkdir()
    shutil.copy(file, copy)
    small_files(PIPELINE, copy.with_suffix(""))
    assert fingerprint(copy) == before
    scheduler = copy.with_suffix("") / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("0.012", "0.013"))
    assert fingerprint(copy) != before


def test_the_old_format_is_refused_unopened(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    pickle = f"cposix\nsystem\n(S'touch {opened}'\ntR.".encode()
    small_files(PIPELINE, tmp_path / "old")
    for name, code in (("old.ckpt", "unsafe_model"), ("old.safetensors", "unknown_model")):
        (tmp_path / name).write_bytes(pickle)
        with pytest.raises(TokenFlowError) as refused:
            load_model(str(tmp_path / name), CPU, torch.float32)
        assert refused.value.code == code and refused.value.remedy
    assert not opened.exists()


@pytest.mark.parametrize("content", [b"", b"\x10" + bytes(40), b"PK\x03\x04 not tensors"])
def test_what_is_no_checkpoint_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.safetensors"
    file.write_bytes(content)
    small_files(PIPELINE, file.with_suffix(""))
    with pytest.raises(TokenFlowError, match="can't be read") as refused:
        load_model(str(file), CPU, torch.float32)
    assert refused.value.code == "unknown_model" and refused.value.remedy


def test_weights_of_another_model_are_refused_in_words(file: Path) -> None:
    small_files(PIPELINE, file.with_suffix(""))
    config = file.with_suffix("") / "unet" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "block_out_channels": [16, 32, 64, 64]}))
    with pytest.raises(TokenFlowError, match="can't be read"):
        load_model(str(file), CPU, torch.float32)


def test_single_files_are_listed_beside_folders(file: Path) -> None:
    small_files(PIPELINE, file.with_suffix(""))
    titles = [found["title"] for found in models([str(file.parent)])]
    assert titles == ["Embedded demonstration", "dreamy.safetensors"]


def configure(address: str, file: Path) -> dict[str, Any]:
    home = str(file.parent / "home")
    return models_command(address, "configure", str(file), HF_HOME=home)


def test_the_configuration_is_fetched_from_the_hub_when_it_is_asked_for(
    file: Path,
) -> None:
    assert base_model(file) == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    lost = configure("http://127.0.0.1:9", file)["error"]
    assert "hub cannot be reached" in lost["message"]
    with serving(ModelHub(PIPELINE, model_id=base_model(file))) as hub:
        told = configure(hub.address, file)
        assert "done" in told, told
        folder = Path(told["done"]["folder"])
        assert not [name for name, _ in hub.requests if name.endswith(".safetensors")]
        assert configuration_of(file) == folder == file.with_suffix("")
        hub.requests.clear()
        assert "done" in configure(hub.address, file)
        assert not hub.requests, "it is there"
    assert load_model(str(file), CPU, torch.float32).unet is not None
