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
from tokenflow_engine.diffusion.autoencoder import encode
from tokenflow_engine.diffusion.inversion import invert, sample
from tokenflow_engine.diffusion.model import load_model
from tokenflow_engine.diffusion.prompts import embed
from tokenflow_engine.diffusion.solvers import SOLVERS, implicit_calls, invert_implicitly
from tokenflow_engine.diffusion.solvers import Path as Inverted
from tokenflow_engine.toyworld.clips import sample_clip

REQUEST = EditRequest(source="clip", prompt="a red ball", output="out")


def clean_latents() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 4, 8, 8, dtype=torch.float64)


def last(path: Inverted) -> Tensor:
    *_, (_, latents) = path
    return latents


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
    for tolerance in (0.9, 0.15, 0.001):
        noisy = last(invert_implicitly(toy_noise, clean, levels, down[::-1], tolerance))
        errors.append(float((sample(toy_noise, noisy, levels, down) - clean).abs().max()))
        calls.append(sum(implicit_calls(levels, down[::-1], tolerance)))
    assert errors[2] < min(errors[:2]) / 3
    assert 50 <= calls[0] < calls[1] < calls[2]


def test_fifty_implicit_steps_take_hardly_more_calls_than_plain_ones() -> None:
    levels = schedule()
    assert sum(implicit_calls(levels, levels.timesteps(50)[::-1])) <= 60


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
    levels, calls = schedule(), 0

    def counted(latents: Tensor, timestep: int) -> Tensor:
        nonlocal calls
        calls += 1
        return toy_noise(latents, timestep)

    up = levels.timesteps(7)[::-1]
    path = list(SOLVERS[name].invert(counted, clean_latents(), levels, up))
    assert [timestep for timestep, _ in path] == up
    assert calls == sum(SOLVERS[name].calls(levels, up))


@pytest.mark.parametrize("name", SOLVERS)
def test_frames_are_inverted_each_on_its_own(name: str) -> None:
    levels, clean = schedule(), clean_latents()
    up = levels.timesteps(6)[::-1]
    together = last(SOLVERS[name].invert(toy_noise, clean, levels, up))
    alone = last(SOLVERS[name].invert(toy_noise, clean[1:], levels, up))
    torch.testing.assert_close(together[1:], alone)


def test_requests_offer_every_solver_and_reference_mode_stays_plain() -> None:
    assert set(INVERSION_SOLVERS) == {"auto", *SOLVERS}
    chosen = {mode: replace(REQUEST, mode=mode).solver for mode in MODES}
    assert chosen == {"reference": "ddim", "smooth": "implicit", "paper": "implicit"}
    assert replace(REQUEST, mode="reference", inversion_solver="implicit").solver == "implicit"


def test_implicit_inversion_of_a_picture_reconstructs_it_better_than_plain_ddim() -> None:
    """By the trained model, at the same UNet calls."""
    model = load_model("embedded", CPU, torch.float32)
    clip = sample_clip(3, "roll", 2, 64, 64, look="red", shape="ball")
    embedding = embed(model, clip.caption)
    clean = encode(model, clip.frames)
    down = model.schedule.timesteps(20)

    def predict(latents: Tensor, timestep: int) -> Tensor:
        return model.predict_noise(latents, timestep, embedding)

    def error(solver: Callable[..., Inverted]) -> float:
        noisy = last(solver(predict, clean, model.schedule, down[::-1]))
        return float((sample(predict, noisy, model.schedule, down) - clean).square().mean())

    assert error(SOLVERS["implicit"].invert) < error(invert) / 20
