"""The one slider between fidelity and freedom, and the strengths that it stands for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tokenflow_engine.client.edit_request import BOUNDS, EDITORS, EditRequest
from tokenflow_engine.client.strengths import (
    COURSES,
    IN_USE,
    freedom_of,
    nearest_freedom,
    strengths_at,
)

VALUES = [n / 200 for n in range(201)]


def test_every_editor_uses_some_of_the_strengths() -> None:
    assert set(IN_USE) == set(EDITORS)
    assert {name for used in IN_USE.values() for name in used} == set(COURSES)


def test_the_middle_is_what_a_request_starts_with() -> None:
    default = EditRequest("clip", "a prompt", "out")
    assert strengths_at(0.5) == {name: getattr(default, name) for name in COURSES}


@pytest.mark.parametrize("name", COURSES)
def test_each_strength_goes_one_way_and_stays_in_bounds(name: str) -> None:
    strengths = [strengths_at(value)[name] for value in VALUES]
    steps = [after - before for before, after in pairwise(strengths)]
    rises = COURSES[name].freedom > COURSES[name].fidelity
    assert all(step > 0 for step in steps) if rises else all(step < 0 for step in steps)
    low, high = BOUNDS[name]
    assert low <= min(strengths) and max(strengths) <= high


def test_freedom_means_more_guidance_and_noise_and_less_of_the_source() -> None:
    faithful, free = strengths_at(0), strengths_at(1)
    for name in ("guidance_scale", "sdedit_start"):
        assert free[name] > faithful[name]
    for name in ("pnp_attention", "pnp_features"):
        assert free[name] < faithful[name]


@pytest.mark.parametrize("editor", EDITORS)
def test_the_value_is_found_again_from_its_strengths(editor: str) -> None:
    for value in VALUES:
        assert freedom_of(strengths_at(value), editor) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("editor", EDITORS)
def test_a_strength_set_by_hand_is_no_value_of_the_slider(editor: str) -> None:
    for name in IN_USE[editor]:
        strengths = strengths_at(0.5) | {name: strengths_at(0.7)[name]}
        assert freedom_of(strengths, editor) is None
        assert 0.5 < nearest_freedom(strengths, editor) < 0.7
    beyond = strengths_at(1.0) | {"guidance_scale": 30.0}
    assert freedom_of(beyond, editor) is None
    assert nearest_freedom(beyond, editor) == pytest.approx(1.0)


def test_strengths_that_the_editor_does_not_use_do_not_count() -> None:
    assert freedom_of(strengths_at(0.5) | {"sdedit_start": 0.1}, "pnp") == pytest.approx(0.5)
    assert freedom_of(strengths_at(0.5) | {"pnp_features": 0.1}, "sdedit") == pytest.approx(0.5)


def test_values_beyond_the_ends_are_brought_back() -> None:
    assert strengths_at(-3) == strengths_at(0)
    assert strengths_at(7) == strengths_at(1)
