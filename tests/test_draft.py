"""Draft quality: fewer steps, thinned-out attention, a tiny decoder; and none of it in a final."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from test_edit import FRAMES, SIZE, cache, clip, pictures, request_for  # noqa: F401

from tokenflow_engine import EditRequest, Progress, TokenFlowError, edit
from tokenflow_engine.client.edit_list import ListedEdit
from tokenflow_engine.client.edit_request import DRAFT_STEPS
from tokenflow_engine.client.edit_steps import Batch, invert
from tokenflow_engine.client.job_folder import JobFolder
from tokenflow_engine.client.model_hash import EMBEDDED
from tokenflow_engine.client.needs import DEMONSTRATION, needs_of
from tokenflow_engine.client.path_mapping import PathMapping
from tokenflow_engine.client.progress import EditResult
from tokenflow_engine.client.step_report import StepReport
from tokenflow_engine.diffusion.model import TINY_VAE
from tokenflow_engine.phases.prepare import shelf
from tokenflow_engine.tokenflow.attention import EditedKeyframes, attention, every_second

Build = Callable[..., EditRequest]


def edit_file(result: Any) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((Path(result.output) / "edit.json").read_text())
    return written


def units_of(request: EditRequest) -> dict[str, int]:
    """UNet calls times frames that each phase plans, and pictures for decoding."""
    reported: list[Progress] = []
    edit(request, progress=reported.append)
    return {report.phase: report.total for report in reported}


def test_every_second_row_and_column_is_taken() -> None:
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(4), indexing="ij")
    tokens = torch.stack([rows, columns], dim=-1).reshape(1, 20, 2)
    kept = every_second(tokens, (5, 4))
    assert kept.tolist() == [[[0, 0], [0, 2], [2, 0], [2, 2], [4, 0], [4, 2]]]


def test_only_the_layers_with_the_most_tokens_are_thinned_out() -> None:
    unet = shelf.model("embedded", torch.device("cpu"), torch.float32).unet
    attn = unet.up_blocks[3].attentions[0].transformer_blocks[0].attn1
    tokens = torch.randn(2, 16, attn.to_q.in_features, generator=torch.Generator().manual_seed(1))

    def keyframes(thinned: tuple[int, int] | None) -> torch.Tensor:
        joint = EditedKeyframes(1, False, False, False, frozenset(), thinned=thinned)
        with torch.inference_mode():
            return joint.attend("layer", attn, tokens)

    with torch.inference_mode():
        seen = every_second(tokens, (4, 4)).reshape(1, 8, -1)
        queries = attn.to_q(tokens).reshape(1, 32, -1)
        expected = attention(attn, queries, attn.to_k(seen), attn.to_v(seen)).reshape(2, 16, -1)
    assert torch.allclose(keyframes((4, 4)), expected, atol=1e-6)
    assert not torch.allclose(keyframes(None), expected, atol=1e-3)
    assert torch.equal(keyframes((8, 8)), keyframes(None)), "another layer's size"


def test_a_draft_is_another_edit_and_is_named_where_its_settings_are_kept(
    request_for: Build,  # noqa: F811
    tmp_path: Path,
) -> None:
    final = edit(request_for(output=str(tmp_path / "final")))
    draft = edit(request_for(output=str(tmp_path / "draft"), quality="draft"))
    assert (pictures(final.output) != pictures(draft.output)).any()
    assert edit_file(final)["request"]["quality"] == "final"
    assert edit_file(draft)["request"]["quality"] == "draft"
    assert edit_file(draft)["model"]["decoder"] == "vae", "the embedded model has no other one"


def test_a_draft_and_a_final_share_what_is_the_same_and_nothing_else(
    request_for: Build,  # noqa: F811
    cache: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edit(request_for(quality="draft"))
    final = edit(request_for(output=str(tmp_path / "final")))
    # Three steps are few enough for either, and the source is never thinned out.
    counts = {path.name: len(list(path.glob("*"))) for path in cache.iterdir() if path.is_dir()}
    assert counts == {"invert": 1, "correspond": 1, "region": 1, "cut": 1, "edit": 2}
    monkeypatch.setenv("TOKENFLOW_CACHE", str(tmp_path / "another cache"))
    alone = edit(request_for(output=str(tmp_path / "alone")))
    assert np.array_equal(pictures(final.output), pictures(alone.output))


def test_a_draft_takes_few_steps_however_many_are_asked_for(
    request_for: Build,  # noqa: F811
    tmp_path: Path,
) -> None:
    asked = request_for(steps=14, inversion_steps=16, frames=(0, 2), output=str(tmp_path / "final"))
    final = units_of(asked)
    drafted = replace(asked, quality="draft", output=str(tmp_path / "draft"))
    draft = units_of(drafted)
    for phase in ("invert", "correspond", "edit"):
        assert draft[phase] < final[phase]
    written = json.loads((tmp_path / "draft" / "edit.json").read_text())
    assert len(written["keyframes"]) == DRAFT_STEPS
    assert written["request"]["steps"] == 14, "as asked, for a final with the same settings"
    assert replace(drafted, steps=4).steps_taken == 4
    assert replace(drafted, quality="final").inversion_steps_taken == 16
    needs = [
        needs_of(r, FRAMES, (SIZE, SIZE), half=False, model=DEMONSTRATION) for r in (drafted, asked)
    ]
    assert needs[0].cache < needs[1].cache


def test_a_preview_can_be_a_draft(request_for: Build) -> None:  # noqa: F811
    result = edit(request_for(quality="draft", preview_frames=2))
    assert len(pictures(result.output)) == 2


def test_long_drafts_attend_to_thinned_anchors_too(request_for: Build) -> None:  # noqa: F811
    result = edit(request_for(quality="draft", chunk=1, window=3))
    assert len(pictures(result.output)) == FRAMES


@pytest.fixture
def model_with_tiny_vae(tmp_path: Path) -> Path:
    """The embedded model and an untrained tiny autoencoder."""
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED, folder)
    torch.manual_seed(5)
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
    ).save_pretrained(folder / TINY_VAE)
    return folder


def test_a_model_with_a_tiny_decoder_decodes_drafts_by_it_and_finals_as_ever(
    request_for: Build,  # noqa: F811
    model_with_tiny_vae: Path,
    tmp_path: Path,
) -> None:
    model, words = str(model_with_tiny_vae), request_for()
    plain = edit(replace(words, output=str(tmp_path / "plain")))
    final = edit(replace(words, model=model, output=str(tmp_path / "final")))
    assert np.array_equal(pictures(plain.output), pictures(final.output))
    assert edit_file(final)["model"]["decoder"] == "vae"
    draft = edit(replace(words, model=model, quality="draft", output=str(tmp_path / "draft")))
    assert edit_file(draft)["model"]["decoder"] == TINY_VAE
    # Untrained as it is, it shows that its pictures are not the ordinary decoder's.
    usual = edit(replace(words, quality="draft", output=str(tmp_path / "usual")))
    assert np.abs(pictures(draft.output) - pictures(usual.output).astype(int)).mean() > 5


def test_on_a_farm_a_draft_inverts_anew_only_where_it_takes_other_steps(tmp_path: Path) -> None:
    job = JobFolder(tmp_path)
    job.frames("a").mkdir(parents=True)
    (job.frames("a") / "00000.png").touch()
    job.finish("extract-a", "", {"content": "c0ffee", "frame_count": 1})

    def skipped(**settings: Any) -> bool:
        listed = ListedEdit("a", "A", frame_count=1, settings={"prompt": "a ball", **settings})
        part, mapping, report = Batch(listed, (0, 1)), PathMapping(), StepReport(quiet=True)
        done = invert(
            job, part, mapping, lambda request, _: EditResult("", 1, 64, 64, None, {}), report
        )
        return bool(done["skipped"])

    assert not skipped(inversion_steps=10)
    assert skipped(inversion_steps=10, quality="draft")
    assert not skipped(inversion_steps=50)
    assert not skipped(inversion_steps=50, quality="draft")
    assert skipped(inversion_steps=40, quality="draft")


def test_what_is_no_quality_is_refused_in_one_sentence(request_for: Build) -> None:  # noqa: F811
    with pytest.raises(TokenFlowError) as caught:
        request_for(quality="best").validated()
    assert caught.value.code == "bad_request"
    assert caught.value.message == "quality is 'best'."
    assert caught.value.remedy == "Choose one of final, draft."
    with pytest.raises(TokenFlowError, match="no drafts"):
        request_for(quality="draft", mode="reference").validated()
