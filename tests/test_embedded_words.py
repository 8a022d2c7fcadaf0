"""The embedded model is asked only in its own words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.client.embedded_words import VOCABULARY
from tokenflow_engine.client.errors import TokenFlowError

REQUEST = EditRequest("in.mp4", "a blue ball on grass", "out")


def refusal(**changes: str) -> TokenFlowError:
    with pytest.raises(TokenFlowError) as caught:
        replace(REQUEST, **changes).validated()
    return caught.value


@pytest.mark.parametrize("field", ["prompt", "source_prompt", "negative_prompt"])
def test_an_unknown_word_is_named_with_what_the_model_knows_instead(field: str) -> None:
    error = refusal(**{field: "a red dragon"})
    assert error.code == "unknown_words"
    assert '"dragon"' in error.message
    assert "red" not in error.message
    assert "Stable Diffusion" in error.remedy
    assert all(word in error.remedy for word in VOCABULARY)


def test_many_unknown_words_do_not_fill_the_screen() -> None:
    error = refusal(prompt="one two three four five six seven")
    assert error.message.endswith('"four", "five" and others.')


@pytest.mark.parametrize("prompt", ["A Red BALL, on grass!", "a ball (a photo)", "a red ball."])
def test_case_and_punctuation_are_no_words(prompt: str) -> None:
    assert replace(REQUEST, prompt=prompt).validated().prompt == prompt


def test_other_models_are_asked_in_any_words() -> None:
    assert replace(REQUEST, prompt="a red dragon", model="folder").validated()


def test_the_comparison_may_ask_in_any_words() -> None:
    assert replace(REQUEST, prompt="a red dragon").validated(any_words=True)
