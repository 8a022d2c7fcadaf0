"""Noise schedule, inversion, model loading and prompts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from golden_runs import GOLDEN

from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.client.model_hash import EMBEDDED, fingerprint
from tokenflow_engine.diffusion.inversion import invert, sample
from tokenflow_engine.diffusion.model import load_model, model_folder
from tokenflow_engine.diffusion.prompts import embed, lost_words
from tokenflow_engine.diffusion.schedule import DenseOutput, NoiseSchedule
from tokenflow_engine.tokenflow.attention import SourceKeyframes
from tokenflow_engine.tokenflow.wiring import tokenflow

CPU = torch.device("cpu")


def schedule(prediction_type: str = "epsilon") -> NoiseSchedule:
    config = DDIMScheduler.load_config(GOLDEN / "pipeline" / "scheduler")
    return NoiseSchedule.of(DDIMScheduler.from_config(config, prediction_type=prediction_type))


def toy_noise(latents: torch.Tensor, timestep: int) -> torch.Tensor:
    """A smooth stand-in for a denoiser, so that only the solver is tested."""
    return torch.tanh(latents * 0.7 + timestep / 2000)


def test_sampling_undoes_inversion_up_to_the_step_size() -> None:
    torch.manual_seed(0)
    clean = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    errors = []
    for steps in (25, 100, 500):
        levels = schedule()
        down = levels.timesteps(steps)
        *_, (_, noisy) = invert(toy_noise, clean, levels, down[::-1])
        errors.append(float((sample(toy_noise, noisy, levels, down) - clean).abs().max()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_every_kind_of_prediction_inverts_like_the_noise_it_stands_for(
    prediction_type: str,
) -> None:
    torch.manual_seed(0)
    clean = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    noise_levels, levels = schedule(), schedule(prediction_type)

    def output(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        mu, sigma = levels.level(timestep)
        noise = toy_noise(latents, timestep)
        denoised = (latents - sigma * noise) / mu
        return denoised if prediction_type == "sample" else mu * noise - sigma * denoised

    def predict(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        return levels.noise(output(latents, timestep), latents, timestep)

    up = levels.timesteps(20)[::-1]
    expected = dict(invert(toy_noise, clean, noise_levels, up))
    for timestep, latents in invert(predict, clean, levels, up):
        torch.testing.assert_close(latents, expected[timestep])


def test_dense_output_lies_on_the_line_of_the_step_that_covers_it() -> None:
    levels = schedule()
    clean = torch.randn(1, 4, 4, 4, dtype=torch.float64)
    noise = torch.randn_like(clean)
    visited = (1, 401, 801)

    def at(timestep: int) -> torch.Tensor:
        mu, sigma = levels.level(timestep)
        return mu * clean + sigma * noise

    path = DenseOutput(levels, visited)
    assert path.ends(1) == (None, 1)
    assert path.ends(300) == (1, 401)
    assert path.ends(951) == (401, 801)
    for timestep in (1, 300, 401, 951):
        low, high = path.ends(timestep)
        below = clean * levels.level(None).mu + noise * levels.level(None).sigma
        below = below if low is None else at(low)
        torch.testing.assert_close(path.between(timestep, below, at(high)), at(timestep))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_models_load_in_the_asked_precision(dtype: torch.dtype) -> None:
    model = load_model("embedded", CPU, dtype)
    assert {p.dtype for p in model.unet.parameters()} == {dtype}
    assert embed(model, "a red ball").dtype == dtype
    assert model.latent_dtype == dtype


def test_a_missing_model_is_refused_with_what_to_choose(tmp_path: Path) -> None:
    with pytest.raises(TokenFlowError) as refused:
        model_folder(str(tmp_path / "nowhere"))
    assert refused.value.code == "unknown_model"
    assert "embedded" in refused.value.remedy


def test_an_incomplete_model_folder_is_refused_with_the_missing_part(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "pipeline", tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "vae")
    with pytest.raises(TokenFlowError, match="lacks vae"):
        model_folder(str(tmp_path / "model"))


def test_a_damaged_model_is_refused_in_words(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "pipeline", tmp_path / "model")
    weights = next((tmp_path / "model" / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(TokenFlowError, match="can't be read") as refused:
        load_model(str(tmp_path / "model"), CPU, torch.float32)
    assert refused.value.code == "unknown_model"


def test_pickles_are_refused_unopened(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    pickle = f"cposix\nsystem\n(S'touch {opened}'\ntR.".encode()
    shutil.copytree(GOLDEN / "pipeline", tmp_path / "model")
    for part in ("unet", "vae", "text_encoder"):
        for weights in (tmp_path / "model" / part).glob("*.safetensors"):
            weights.unlink()
        (tmp_path / "model" / part / "diffusion_pytorch_model.bin").write_bytes(pickle)
    single = tmp_path / "model.ckpt"
    single.write_bytes(pickle)
    for name in (tmp_path / "model", single):
        with pytest.raises(TokenFlowError, match="pickle") as refused:
            load_model(str(name), CPU, torch.float32)
        assert refused.value.code == "unsafe_model"
    assert not opened.exists()


def test_the_fingerprint_follows_the_weights_not_the_folder(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == fingerprint(EMBEDDED)
    weights = next((tmp_path / "copy" / "unet").glob("*.safetensors"))
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert fingerprint(tmp_path / "copy") != fingerprint(EMBEDDED)


def test_a_too_long_prompt_says_which_words_are_lost() -> None:
    model = load_model("embedded", CPU, torch.float32)
    assert lost_words(model, "a red ball on grass under a blue sky") == []
    long = "a red ball " * 20
    lost = lost_words(model, long + "finally")
    assert lost[-1] == "finally"
    kept = long.split()[: 61 - len(lost)]
    assert len(model.tokenizer(" ".join(kept)).input_ids) <= model.tokenizer.model_max_length
    assert torch.equal(embed(model, long + "finally"), embed(model, " ".join(kept)))


def test_the_order_of_channels_that_gpus_get_changes_nothing_but_rounding() -> None:
    latents = torch.randn(2, 4, 8, 8)
    model = load_model(str(GOLDEN / "pipeline"), CPU, torch.float32)
    embeddings = embed(model, "a wolf").expand(2, -1, -1)

    def tokens() -> dict[str, torch.Tensor]:
        seen = SourceKeyframes()
        with tokenflow(model.unet) as wiring, torch.inference_mode():
            output = wiring.run(seen, latents, 481, embeddings)
        return {"output": output, **seen.outputs}

    before = tokens()
    model.unet.to(memory_format=torch.channels_last)
    for name, after in tokens().items():
        torch.testing.assert_close(after, before[name], rtol=1e-4, atol=1e-4)
