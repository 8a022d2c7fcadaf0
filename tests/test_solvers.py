"""Inversion solvers: what each undoes, how exactly, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from test_diffusion import CPU, schedule, toy_noise
from torch import Tensor

from tokenflow_engine import EditRequest
from tokenflow_engine.client.edit_request import INVERSION_SOLVERS, MODES
from tokenflow_engine.diffusion import solvers
from tokenflow_engine.diffusion.autoencoder import decode, encode
from tokenflow_engine.diffusion.inversion import NoisePredictor, invert, sample
from tokenflow_engine.diffusion.model import DiffusionModel, load_model
from tokenflow_engine.diffusion.prompts import embed
from tokenflow_engine.diffusion.solvers import SOLVERS, invert_implicitly
from tokenflow_engine.diffusion.solvers import Path as Inverted
from tokenflow_engine.evaluation.metrics import psnr
from tokenflow_engine.toyworld.captions import full_caption
from tokenflow_engine.toyworld.clips import move, sample_clip
from tokenflow_engine.toyworld.evaluation_set import plan_clip
from tokenflow_engine.toyworld.render import render

REQUEST = EditRequest(source="clip", prompt="a red ball", output="out")


@pytest.fixture(scope="module")
def trained() -> DiffusionModel:
    return load_model("embedded", CPU, torch.float32)


def clean_latents() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 4, 8, 8, dtype=torch.float64)


def last(path: Inverted) -> Tensor:
    *_, (_, latents) = path
    return latents


def counted_noise(noise: NoisePredictor) -> tuple[NoisePredictor, list[int]]:
    """The same predictor, and the timesteps of the calls that it gets."""
    calls: list[int] = []

    def counted(latents: Tensor, timestep: int) -> Tensor:
        calls.append(timestep)
        return noise(latents, timestep)

    return counted, calls


def round_trip_error(name: str, steps: int, *, by_ddim: bool = False) -> float:
    """Largest difference after inverting and sampling back on the same timesteps."""
    solver, levels, clean = SOLVERS[name], schedule(), clean_latents()
    down = levels.timesteps(steps)
    noisy = last(solver.invert(toy_noise, clean, levels, down[::-1]))
    back = (sample if by_ddim else solver.sample)(toy_noise, noisy, levels, down)
    return float((back - clean).abs().max())


@pytest.mark.parametrize("steps", [10, 50])
def test_a_converged_fixed_point_is_undone_exactly_by_ddim_on_the_same_timesteps(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solvers, "MOST_CALLS", 300)
    levels, clean = schedule(), clean_latents()
    down = levels.timesteps(steps)
    noisy = last(invert_implicitly(toy_noise, clean, levels, down[::-1], tolerance=1e-12))
    torch.testing.assert_close(sample(toy_noise, noisy, levels, down), clean, rtol=0, atol=1e-9)


def test_a_smaller_tolerance_takes_more_calls_and_comes_nearer() -> None:
    levels, clean = schedule(), clean_latents()
    down = levels.timesteps(50)
    errors, calls = [], []
    for tolerance in (0.05, 0.005, 0.0001):
        predict, counted = counted_noise(toy_noise)
        noisy = last(invert_implicitly(predict, clean, levels, down[::-1], tolerance))
        errors.append(float((sample(toy_noise, noisy, levels, down) - clean).abs().max()))
        calls.append(len(counted))
    assert errors[2] < min(errors[:2]) / 3
    assert 50 <= calls[0] < calls[1] < calls[2]


def test_a_step_in_which_plain_iteration_runs_away_is_solved_all_the_same() -> None:
    """Of two frames the second one's latents turn its noise by more than the step can take."""
    levels, clean = schedule(), clean_latents()
    turns = torch.tensor([0.5, -4.0]).view(2, 1, 1, 1)

    def steep(latents: Tensor, timestep: int) -> Tensor:
        return turns * latents + 0.1

    down = levels.timesteps(12)
    predict, counted = counted_noise(steep)
    noisy = last(invert_implicitly(predict, clean, levels, down[::-1], tolerance=1e-9))
    assert len(counted) <= 4 * 12
    back = sample(steep, noisy, levels, down)
    torch.testing.assert_close(back[0], clean[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(back[1] / back[1].norm(), clean[1] / clean[1].norm())


def test_a_model_whose_clean_latents_have_no_noise_at_all_is_inverted_too() -> None:
    levels = replace(schedule(), final_alpha=1.0)
    down = levels.timesteps(50)
    noisy = last(invert_implicitly(toy_noise, clean_latents(), levels, down[::-1]))
    back = sample(toy_noise, noisy, levels, down)
    torch.testing.assert_close(back, clean_latents(), rtol=0, atol=1e-3)


def test_fifty_implicit_steps_are_nearer_than_five_hundred_plain_ones() -> None:
    assert round_trip_error("implicit", 50) < round_trip_error("ddim", 500)


def test_adams_bashforth_is_of_second_order() -> None:
    """Halving the step quarters the error with its own sampler."""
    coarse, fine = (round_trip_error("adams_bashforth", steps) for steps in (100, 200))
    assert fine < coarse / 3.5
    assert round_trip_error("ddim", 200) > round_trip_error("ddim", 100) / 2.5


def test_sampled_by_ddim_adams_bashforth_loses_what_ddim_loses() -> None:
    assert round_trip_error("adams_bashforth", 100, by_ddim=True) > 3 * round_trip_error(
        "adams_bashforth", 100
    )


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_takes_the_calls_that_it_announces_and_visits_every_timestep(name: str) -> None:
    levels = schedule()
    predict, counted = counted_noise(toy_noise)
    up = levels.timesteps(50)[::-1]
    path = list(SOLVERS[name].invert(predict, clean_latents(), levels, up))
    assert [timestep for timestep, _ in path] == up
    announced = sum(SOLVERS[name].calls(levels, up))
    assert len(counted) == pytest.approx(announced, abs=5 if name == "implicit" else 0)


@pytest.mark.parametrize("name", SOLVERS)
def test_frames_are_inverted_each_on_its_own(name: str) -> None:
    levels, clean = schedule(), clean_latents()
    up = levels.timesteps(6)[::-1]
    together = last(SOLVERS[name].invert(toy_noise, clean, levels, up))
    alone = last(SOLVERS[name].invert(toy_noise, clean[1:], levels, up))
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-12)


def test_requests_offer_every_solver_and_reference_mode_stays_plain() -> None:
    assert set(INVERSION_SOLVERS) == {"auto", *SOLVERS}
    chosen = {mode: replace(REQUEST, mode=mode).solver for mode in MODES}
    assert chosen == {"reference": "ddim", "smooth": "implicit", "paper": "implicit"}
    assert replace(REQUEST, mode="reference", inversion_solver="implicit").solver == "implicit"


def test_implicit_inversion_of_a_picture_reconstructs_it_better_than_plain_ddim(
    trained: DiffusionModel,
) -> None:
    """By the trained model, at the same UNet calls."""
    clip = sample_clip(3, "roll", 2, 64, 64, look="red", shape="ball")
    embedding = embed(trained, clip.caption)
    clean = encode(trained, clip.frames)
    down = trained.schedule.timesteps(20)

    def predict(latents: Tensor, timestep: int) -> Tensor:
        return trained.predict_noise(latents, timestep, embedding)

    def error(solver: Callable[..., Inverted]) -> float:
        noisy = last(solver(predict, clean, trained.schedule, down[::-1]))
        return float((sample(predict, noisy, trained.schedule, down) - clean).square().mean())

    assert error(SOLVERS["implicit"].invert) < error(invert) / 20


@pytest.mark.parametrize("steps", [12, 25])
def test_a_picture_in_whose_steps_small_errors_grow_is_kept_in_the_calls_that_are_announced(
    steps: int, trained: DiffusionModel
) -> None:
    """A green cube on snow at night, which plain iteration, at as many calls, lost 1 dB of in 12
    steps and 4 dB in 25."""
    scene, motion, _, _ = plan_clip(2)
    scene = move(scene, motion, 9)[4]
    picture = render(scene, trained.native_size, trained.native_size).image[None]
    embedding = embed(trained, full_caption(scene))
    clean = encode(trained, picture)
    schedule, down = trained.schedule, trained.schedule.timesteps(steps)

    def noise(latents: Tensor, timestep: int) -> Tensor:
        return trained.predict_noise(latents, timestep, embedding)

    predict, counted = counted_noise(noise)
    noisy = last(invert_implicitly(predict, clean, schedule, down[::-1]))
    back = decode(trained, sample(noise, noisy, schedule, down))
    assert psnr(picture, back) > psnr(picture, decode(trained, clean)) - 0.1
    announced = sum(SOLVERS["implicit"].calls(schedule, down[::-1]))
    assert len(counted) == pytest.approx(announced, rel=0.2)
