"""TokenFlow's parts: keyframes, correspondence, propagation, wiring."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden_runs import GOLDEN

from tokenflow_engine.benchmark.operations import count_operations
from tokenflow_engine.client.errors import TokenFlowError
from tokenflow_engine.diffusion.model import load_model
from tokenflow_engine.tokenflow import correspondence
from tokenflow_engine.tokenflow.attention import (
    EditedKeyframes,
    InjectionSource,
    KeyframeOutputs,
    PropagatedFrames,
    SourceFrames,
    SourceKeyframes,
    SourcePass,
    extended_attention,
)
from tokenflow_engine.tokenflow.correspondence import nearest_neighbours, unit_tokens
from tokenflow_engine.tokenflow.keyframes import chunks, draw_schedule, read_schedule
from tokenflow_engine.tokenflow.propagation import RULES, Blend, copy_of, propagate
from tokenflow_engine.tokenflow.wiring import tokenflow


@pytest.fixture(scope="module")
def unet() -> Any:
    return load_model(str(GOLDEN / "pipeline"), torch.device("cpu"), torch.float32).unet


def test_running_maximum_finds_what_the_whole_matrix_finds(monkeypatch: Any) -> None:
    torch.manual_seed(0)
    queries, keys = unit_tokens(torch.randn(3, 50, 16)), unit_tokens(torch.randn(3, 70, 16))
    whole = (queries @ keys.mT).argmax(-1)
    for block_bytes in (3 * 50 * 4, 3 * 50 * 4 * 7, 2**20):
        monkeypatch.setattr(correspondence, "SIMILARITY_BYTES", block_bytes)
        assert torch.equal(nearest_neighbours(queries, keys), whole)


def test_the_first_of_equal_neighbours_is_taken_across_blocks(monkeypatch: Any) -> None:
    keys = torch.eye(4)[[0, 1, 1, 0, 1]][None]
    queries = torch.eye(4)[[1, 0]][None]
    monkeypatch.setattr(correspondence, "SIMILARITY_BYTES", 2 * 4 * 2)
    assert nearest_neighbours(queries, keys).tolist() == [[1, 0]]


def test_extended_attention_equals_a_copy_of_all_keys_for_each_frame(unet: Any) -> None:
    torch.manual_seed(0)
    attn = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    frames, tokens = 3, torch.randn(2 * 3, 10, 16)
    queries, keys, values = attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)
    ours = extended_attention(attn, queries, keys, values, branches=2).reshape_as(tokens)
    for branch in range(2):
        rows = slice(branch * frames, (branch + 1) * frames)
        all_keys, all_values = (
            x[rows].reshape(1, -1, 16).repeat(frames, 1, 1) for x in (keys, values)
        )
        heads = [
            x.reshape(frames, -1, attn.heads, 16 // attn.heads).transpose(1, 2)
            for x in (queries[rows], all_keys, all_values)
        ]
        weights = (heads[0] @ heads[1].mT * attn.scale).softmax(-1)
        theirs = attn.to_out[0]((weights @ heads[2]).transpose(1, 2).reshape(frames, -1, 16))
        torch.testing.assert_close(ours[rows], theirs)


def test_smooth_keeps_keyframes_and_never_jumps() -> None:
    keyframes, chunk = (2, 9, 13), 8
    shares = []
    for frame in range(16):
        blend = RULES["smooth"].blend(frame, keyframes, chunk)
        share = [0.0, 0.0, 0.0]
        for slot, weight in zip(blend.slots, blend.weights, strict=True):
            share[slot] += weight
        assert sum(share) == pytest.approx(1)
        shares.append(share)
    for slot, keyframe in enumerate(keyframes):
        assert shares[keyframe][slot] == 1
    for before, after in pairwise(shares):
        assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= 1 / 4 + 1e-9


def test_paper_weights_are_the_sigmoid_of_the_distances() -> None:
    blend = RULES["paper"].blend(4, (2, 10), 8)
    assert blend.slots == (1, 0)
    assert blend.weights[0] == pytest.approx(1 / (1 + 2.718281828459045**-0.25))


def test_reference_blends_the_chunk_with_the_previous_one() -> None:
    assert RULES["reference"].blend(3, (1, 5), 4) == copy_of(0)
    blend = RULES["reference"].blend(5, (1, 5), 4)
    assert blend.slots == (1, 0)
    assert blend.weights[0] == pytest.approx(1 / (1 + 2.718281828459045**-0.75))


@pytest.mark.parametrize("mode", RULES)
@pytest.mark.parametrize("frame_count", [2, 7, 8, 9, 17])
def test_every_frame_has_neighbours_whatever_the_length(mode: str, frame_count: int) -> None:
    for keyframes in draw_schedule(frame_count, 8, 5, seed=3):
        for frame in range(frame_count):
            blend = RULES[mode].blend(frame, keyframes, 8)
            assert sum(blend.weights) == pytest.approx(1)
            assert all(0 <= slot < len(keyframes) for slot in blend.slots)


def test_propagation_gathers_along_the_fields_and_blends() -> None:
    tokens = torch.arange(2 * 2 * 3, dtype=torch.float32).reshape(2, 2, 3, 1)
    fields = torch.tensor([[[2, 1, 0], [0, 0, 1]], [[0, 1, 2], [0, 0, 0]]])
    blends = [Blend((1, 0), (0.75, 0.25)), copy_of(1)]
    out = propagate(tokens, fields, blends)
    first = 0.75 * tokens[:, 1, [2, 1, 0]] + 0.25 * tokens[:, 0, [0, 0, 1]]
    torch.testing.assert_close(out[:, 0], first)
    torch.testing.assert_close(out[:, 1], tokens[:, 1])


def test_schedule_draws_one_keyframe_from_each_chunk_and_repeats_with_the_seed() -> None:
    schedule = draw_schedule(19, 8, 40, seed=5)
    assert all([k // 8 for k in row] == [0, 1, 2] and row[-1] < 19 for row in schedule)
    assert schedule == draw_schedule(19, 8, 40, seed=5)
    assert schedule != draw_schedule(19, 8, 40, seed=6)
    assert {row[0] for row in schedule} == set(range(8))


@pytest.mark.parametrize(
    "rows",
    [[[0, 8]], [[0], [8]], [[8, 0]] * 2, [[0, 99]] * 2, "no list", [[0.5, 8]] * 2, [[]] * 2],
)
def test_a_schedule_that_does_not_fit_is_refused_in_words(rows: Any, tmp_path: Path) -> None:
    path = tmp_path / "keyframes.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(TokenFlowError) as refused:
        read_schedule(path, frame_count=16, chunk=8, steps=2)
    assert refused.value.code == "bad_request"
    assert "keyframes.json" in refused.value.message


def test_chunks_drop_no_frame() -> None:
    assert chunks(range(5), 2) == [(0, 1), (2, 3), (4,)]


def test_the_unet_is_exactly_as_before_after_the_block_even_on_an_error(unet: Any) -> None:
    latents, context = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 32)

    def output() -> torch.Tensor:
        with torch.inference_mode():
            result: torch.Tensor = unet(latents, 5, encoder_hidden_states=context).sample
        return result

    before, processors = output(), dict(unet.attn_processors)
    with pytest.raises(RuntimeError, match="midway"), tokenflow(unet):
        raise RuntimeError("midway")
    assert all(unet.attn_processors[name] is p for name, p in processors.items())
    assert not any(module._forward_hooks for module in unet.modules())
    assert torch.equal(output(), before)


def test_source_passes_leave_the_prediction_as_it_is_without_propagation(unet: Any) -> None:
    torch.manual_seed(1)
    latents, context = torch.randn(3, 4, 16, 16), torch.randn(3, 77, 32)
    with torch.inference_mode():
        plain = unet(latents, 5, encoder_hidden_states=context).sample
        with tokenflow(unet) as wiring:
            keyframes = SourceKeyframes()
            ours = wiring.run(keyframes, latents, 5, context)
            torch.testing.assert_close(ours, plain)
            seen = SourceFrames(keyframes, [copy_of(slot) for slot in range(3)], False)
            torch.testing.assert_close(wiring.run(seen, latents, 5, context), plain)
    for layer, field in seen.fields.items():
        identity = torch.arange(field.shape[-1]).expand(3, -1)
        assert torch.equal(field[:, 0], identity), layer


@pytest.mark.parametrize("propagates", [False, True])
def test_a_source_pass_ends_early_with_all_that_a_whole_one_keeps(
    unet: Any, propagates: bool
) -> None:
    torch.manual_seed(3)
    latents, context = torch.randn(3, 4, 16, 16), torch.randn(3, 77, 32)
    blends = [copy_of(slot) for slot in range(3)]
    reached: list[str] = []
    hook = unet.conv_out.register_forward_pre_hook(lambda *_: reached.append("conv_out"))

    def seen(layers: frozenset[str] | None) -> tuple[SourceKeyframes, SourceFrames]:
        keyframes = SourceKeyframes(layers=layers)
        wiring.see(keyframes, latents, 5, context)
        frames = SourceFrames(keyframes, blends, propagates, layers=layers)
        wiring.see(frames, latents + 0.1, 5, context)
        return keyframes, frames

    def features(unet_pass: SourcePass) -> torch.Tensor:
        assert unet_pass.kept_features is not None
        return unet_pass.kept_features

    try:
        with tokenflow(unet) as wiring, torch.inference_mode():
            whole = seen(None)
            assert reached == ["conv_out"] * 2
            reached.clear()
            early = seen(frozenset(wiring.layers))
            injected = InjectionSource(layers=wiring.injected_layers)
            wiring.see(injected, latents, 5, context)
            assert injected.kept.keys() == wiring.injected_layers
            assert not reached
            with pytest.raises(RuntimeError, match="outside"):
                unet(latents, 5, encoder_hidden_states=context)
    finally:
        hook.remove()
    assert whole[0].tokens.keys() == early[0].tokens.keys()
    for layer, tokens in whole[0].tokens.items():
        assert torch.equal(early[0].tokens[layer], tokens)
        assert torch.equal(early[1].fields[layer], whole[1].fields[layer])
    for layer, outputs in early[0].outputs.items():
        assert torch.equal(outputs, whole[0].outputs[layer])
    assert torch.equal(features(early[1]), features(whole[1]))
    for unet_pass in (early[0], injected):
        assert torch.equal(features(unet_pass), features(whole[0]))


class WithoutSparing(PropagatedFrames):
    """Computes the features that are then replaced."""

    @property
    def replaces_features(self) -> bool:
        return False


def test_features_that_are_replaced_need_not_be_computed(unet: Any) -> None:
    torch.manual_seed(4)
    latents, context = torch.randn(6, 4, 16, 16), torch.randn(6, 77, 32)
    blends = [copy_of(slot) for slot in range(3)]
    source = SourceKeyframes()

    def run(kind: type[PropagatedFrames]) -> torch.Tensor:
        outputs = {k: x.unflatten(0, (1, 3)).repeat(2, 1, 1, 1) for k, x in source.outputs.items()}
        unet_pass = kind(KeyframeOutputs(outputs), blends, seen.fields, source.kept_features)
        return wiring.run(unet_pass, latents, 5, context)

    with tokenflow(unet) as wiring, torch.inference_mode():
        wiring.see(source, latents[:3], 5, context[:3])
        seen = SourceFrames(source, blends, False)
        wiring.see(seen, latents[3:], 5, context[3:])
        assert torch.equal(run(PropagatedFrames), run(WithoutSparing))
        spared, whole = (
            count_operations(partial(run, kind)) for kind in (PropagatedFrames, WithoutSparing)
        )
    assert spared < whole
    assert not any(module._forward_pre_hooks for module in unet.modules())


def test_a_call_outside_of_a_pass_is_an_error(unet: Any) -> None:
    with tokenflow(unet), pytest.raises(RuntimeError, match="outside"):
        unet(torch.zeros(1, 4, 16, 16), 5, encoder_hidden_states=torch.zeros(1, 77, 32))


def test_injection_covers_the_decoder_layers_of_plug_and_play(unet: Any) -> None:
    with tokenflow(unet) as wiring:
        names = {".".join(layer.split(".")[:4]) for layer in wiring.injected_layers}
    assert names == {
        *(f"up_blocks.1.attentions.{n}" for n in (1, 2)),
        *(f"up_blocks.{block}.attentions.{n}" for block in (2, 3) for n in range(3)),
    }


def test_injected_attention_uses_the_queries_and_keys_of_the_source(unet: Any) -> None:
    torch.manual_seed(2)
    attn = unet.up_blocks[3].attentions[0].transformer_blocks[0].attn1
    tokens = torch.randn(3 * 2, 12, attn.to_q.in_features)
    joint = EditedKeyframes(
        branches=2,
        source=True,
        inject_attention=True,
        inject_features=False,
        injected_layers=frozenset({"layer"}),
    )
    joint.attend("layer", attn, tokens)
    source, edited = tokens[:2], tokens[4:]
    queries, keys = (p(source).reshape(1, 24, -1) for p in (attn.to_q, attn.to_k))
    values = attn.to_v(edited).reshape(1, 24, -1)
    queries, keys, values = (
        x.reshape(1, 24, attn.heads, -1).transpose(1, 2) for x in (queries, keys, values)
    )
    out = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).reshape(2, 12, -1)
    torch.testing.assert_close(joint.outputs["layer"][1], attn.to_out[0](out))
