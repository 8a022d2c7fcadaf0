"""The comparison: every method on small clips of the toy world, through the real command."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tokenflow_engine import EditRequest, TokenFlowError
from tokenflow_engine.comparison.clips import class_of, read_clips
from tokenflow_engine.comparison.evaluate import (
    ClipOutcome,
    Settings,
    chosen_methods,
    evaluate_clip,
    load_judges,
)
from tokenflow_engine.comparison.ground_truth import load_ground_truth
from tokenflow_engine.comparison.methods import ALWAYS, METHODS, Trial, fixed_schedule
from tokenflow_engine.comparison.passes import FirstFrameAttention, SparseCausalAttention
from tokenflow_engine.comparison.plot import scatter
from tokenflow_engine.comparison.summary import figure, summarise
from tokenflow_engine.evaluation.attributes import load_card, load_reader
from tokenflow_engine.phases.cache import PhaseCache
from tokenflow_engine.phases.invert import invert_source
from tokenflow_engine.phases.meter import ProgressMeter
from tokenflow_engine.phases.prepare import prepare
from tokenflow_engine.tokenflow.attention import EditedFrames, attention
from tokenflow_engine.toyworld import ATTRIBUTES, render, sample_scene
from tokenflow_engine.toyworld.evaluation_set import SEED, plan_clip, write_evaluation_set

SIZE, FRAMES, STEPS = 64, 4, 2
NAMES = (
    *("copy", "vae", "pnp-per-frame", "text2video-zero", "tune-a-video", "reference", "paper"),
    *("smooth", "joint", "fixed-keyframes", "no-extended-attention", "whole-picture", "unsteadied"),
)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recolouring and one edit of the material, with masks, exact flow and truths."""
    folder = tmp_path_factory.mktemp("evaluation set")
    write_evaluation_set(folder, 2, FRAMES, SIZE)
    return folder


def template(**changes: Any) -> EditRequest:
    request = EditRequest(
        source="each clip's own",
        prompt="each clip's own",
        output="nowhere",
        steps=STEPS,
        inversion_steps=STEPS,
        chunk=2,
        device="cpu",
    )
    return replace(request, **changes)


@pytest.fixture(scope="session")
def outcome(clips: Path) -> ClipOutcome:
    """The first clip, edited by the methods that change no model."""
    every = read_clips(clips)
    judges = load_judges(every, None)
    methods = chosen_methods(["pnp-per-frame", "smooth"])
    return evaluate_clip(every[0], Settings(template(), methods, (0, 1)), judges)


@pytest.fixture(scope="session")
def trial(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    clip = read_clips(clips)[0]
    request = template(
        source=str(clip.source), prompt=clip.target_prompt, source_prompt=clip.source_prompt
    )
    run = replace(
        prepare(request, ProgressMeter({})), cache=PhaseCache(tmp_path_factory.mktemp("cache"))
    )
    truth = load_ground_truth(clip, run.frame_count, run.size)
    return Trial(run, invert_source(run), list(truth.source), tuning_steps=2)


@pytest.fixture(scope="session")
def report(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The command with every method; the folder it wrote and the object it printed."""
    folder = tmp_path_factory.mktemp("report") / "out"
    done = evaluate(
        *(clips, "--output", folder, "--methods", "all", "--steps", STEPS, "--chunk", 2),
        *("--tuning-steps", 1, "--json", "--device", "cpu", "--seeds", "0,1"),
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tokenflow_engine", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_the_command_runs_every_method_and_prints_the_metrics(
    report: tuple[Path, dict[str, Any]],
) -> None:
    _, printed = report
    assert tuple(printed["methods"]) == NAMES
    wanted = {
        *("edit_success", "warp_error", "background_psnr", "reconstruction_psnr"),
        *("seconds_per_frame", "peak_memory_mb"),
    }
    for name, figures in printed["methods"].items():
        for metric in wanted:
            assert math.isfinite(figures[metric]), (name, metric)
        assert 0 <= figures["edit_success"] <= 1
        assert figures["peak_memory_mb"] > 100
    assert printed["methods"]["smooth"]["seconds_per_frame"] > 0
    assert set(printed["classes"]) == {"recolouring", "material"}


def test_the_report_has_tables_a_plot_and_frames_side_by_side(
    report: tuple[Path, dict[str, Any]],
) -> None:
    folder, _ = report
    text = (folder / "evaluation.md").read_text(encoding="utf-8")
    page = (folder / "index.html").read_text(encoding="utf-8")
    sheets = sorted((folder / "frames").glob("*.png"))
    assert len(sheets) == 2
    for sheet in sheets:
        assert f"frames/{sheet.name}" in text
        assert f"frames/{sheet.name}" in page
    assert "## Material" in text
    assert "evaluation.svg" in text
    plot = (folder / "evaluation.svg").read_text(encoding="utf-8")
    for name in NAMES:
        assert METHODS[name].title in text
        assert METHODS[name].title in plot


def test_table_csv_and_json_agree(report: tuple[Path, dict[str, Any]]) -> None:
    folder, printed = report
    with (folder / "evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values = defaultdict(list)
    for row in rows:
        values[row["method"]].append(float(row["warp_error"]))
    stored = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    text = (folder / "evaluation.md").read_text(encoding="utf-8")
    for name in NAMES:
        # Two clips, and two seeds where the seed changes anything.
        assert len(values[name]) == (4 if METHODS[name].seeded else 2)
        mean, spread = np.mean(values[name]), np.std(values[name])
        assert printed["methods"][name]["warp_error"] == pytest.approx(mean, abs=1e-5)
        assert stored["methods"][name] == printed["methods"][name]
        row = next(r for r in text.splitlines() if r.startswith(f"| {METHODS[name].title} |"))
        assert f" {mean:.2f} ± {spread:.2f} " in row


def test_a_copy_is_the_source_and_an_edit_is_not(outcome: ClipOutcome) -> None:
    scores = {r.method: r.scores for r in outcome.records if r.seed == 0}
    assert all(map(np.array_equal, outcome.pictures["copy"], outcome.truth.source))
    assert scores["copy"]["background_psnr"] == 100
    assert scores["copy"]["reconstruction_psnr"] == 100
    assert scores["copy"]["background_ssim"] == pytest.approx(1)
    assert scores["copy"]["warp_error"] < scores["vae"]["warp_error"]
    assert scores["copy"]["edit_success"] == 0
    assert scores["vae"]["warp_error_excess"] == 0
    excess = scores["smooth"]["warp_error"] - scores["vae"]["warp_error"]
    assert scores["smooth"]["warp_error_excess"] == pytest.approx(excess)
    assert scores["smooth"]["truth_psnr"] < 99


def test_the_truth_itself_scores_as_a_perfect_edit(clips: Path) -> None:
    from tokenflow_engine.comparison.scoring import score

    for clip in read_clips(clips):
        truth = load_ground_truth(clip, FRAMES, (SIZE, SIZE))
        assert truth.perfect is not None and truth.exact_flow
        scores = score(truth.perfect, clip, truth, load_judges([clip], None))
        assert scores["background_psnr"] == scores["truth_psnr"] == 100
        assert scores["edit_success"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_each_method_leaves_the_unet_as_it_was(name: str, trial: Trial) -> None:
    unet = trial.run.model.unet
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    processors = dict(unet.attn_processors)
    method = METHODS[name]
    frames = method.edit(trial)
    assert np.stack(frames).shape == (FRAMES, SIZE, SIZE, 3)
    after = unet.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert unet.attn_processors == processors
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    assert not unet.up_blocks[1].resnets[1].conv2._forward_hooks


def test_tuning_changes_the_queries_of_a_copy_alone(trial: Trial) -> None:
    from tokenflow_engine.comparison.baselines import TUNED, tuned_on

    own = trial.run.model.unet.state_dict()
    tuned = tuned_on(trial.run, trial.inversion, 2, seed=5).model.unet.state_dict()
    again = tuned_on(trial.run, trial.inversion, 2, seed=5).model.unet.state_dict()
    other = tuned_on(trial.run, trial.inversion, 2, seed=6).model.unet.state_dict()
    changed = {key for key in own if not torch.equal(own[key], tuned[key])}
    assert changed == {key for key in own if key.endswith(TUNED)}
    assert all(torch.equal(tuned[key], again[key]) for key in tuned)
    assert any(not torch.equal(tuned[key], other[key]) for key in changed)


@pytest.mark.parametrize("kind", [EditedFrames, FirstFrameAttention, SparseCausalAttention])
def test_frames_in_one_call_or_in_several_give_the_same(
    kind: type[EditedFrames], trial: Trial
) -> None:
    from tokenflow_engine.phases.preview import edit_every_frame

    at_once = edit_every_frame(trial.run, trial.inversion, kind, FRAMES)
    in_parts = edit_every_frame(trial.run, trial.inversion, kind, 1)
    assert torch.allclose(at_once, in_parts, atol=1e-3)


def test_per_frame_edits_know_nothing_of_their_neighbours_and_others_do(trial: Trial) -> None:
    tokens = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(0))
    attn = trial.run.model.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    alone = EditedFrames(1, False, False, False, frozenset()).attend("layer", attn, tokens)
    for frame in range(3):
        own = tokens[frame : frame + 1]
        single = attention(attn, attn.to_q(own), attn.to_k(own), attn.to_v(own))
        assert torch.allclose(alone[frame], single[0], atol=1e-5)
    first = FirstFrameAttention(1, False, False, False, frozenset()).attend("layer", attn, tokens)
    crossed = attention(attn, attn.to_q(tokens[2:]), attn.to_k(tokens[:1]), attn.to_v(tokens[:1]))
    assert torch.allclose(first[2], crossed[0], atol=1e-5)
    causal = SparseCausalAttention(1, False, False, False, frozenset())
    both = torch.cat([tokens[:1], tokens[1:2]], dim=1)
    expected = attention(attn, attn.to_q(tokens[2:]), attn.to_k(both), attn.to_v(both))
    assert torch.allclose(causal.attend("layer", attn, tokens)[2], expected[0], atol=1e-5)


def test_fixed_keyframes_are_the_middle_of_each_chunk_in_every_step() -> None:
    assert fixed_schedule(10, 4, 2) == ((2, 6, 9), (2, 6, 9))


def test_an_unknown_method_is_named_and_copy_and_vae_are_always_there() -> None:
    with pytest.raises(TokenFlowError, match="no method 'magic'"):
        chosen_methods(["magic"])
    assert chosen_methods(["smooth"]) == (*ALWAYS, "smooth")
    assert chosen_methods(None) == NAMES[:8]


def test_what_does_not_apply_is_left_out_of_means_and_no_nan_reaches_json() -> None:
    from tokenflow_engine.comparison.evaluate import Record
    from tokenflow_engine.comparison.summary import means

    assert figure([1.0, math.nan, 3.0]) == (2.0, 1.0, 2)
    table = summarise([Record("a", "edit", "copy", 0, {"warp_error": 2.0})])
    assert means(table)["copy"]["warp_error"] == 2.0
    assert means(table)["copy"]["edit_success"] is None
    assert "<circle" not in scatter(table)


def test_classes_of_edits() -> None:
    assert class_of({"look": "blue"}) == "recolouring"
    assert class_of({"look": "wooden"}) == "material"
    assert class_of({"ground": "sand"}) == "ground"
    assert class_of({"look": "red", "sky": "night"}) == "mixed"


@pytest.mark.parametrize(
    ("captions", "said"),
    [
        ("{", "can't be read as JSON"),
        ("[]", "is not a list of clips"),
        ('[{"target_prompt": "a"}]', 'lacks "file"'),
        ('[{"file": "a.mp4"}]', 'lacks "target_prompt"'),
        ('[{"file": "a.mp4", "target_prompt": "a"}]', 'names "a.mp4", which is not in'),
        ('[{"file": ".", "target_prompt": "a", "edit": [1]}]', '"edit" that is not'),
    ],
)
def test_captions_that_are_not_as_they_should_be_are_refused_with_a_sentence(
    captions: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "captions.json").write_text(captions)
    with pytest.raises(TokenFlowError, match=said):
        read_clips(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["nowhere", "--output", "out"], 'There is no file or folder "nowhere"', 3),
        ([".", "--output", "out", "--methods", "magic"], "There is no method 'magic'", 2),
        ([".", "--output", "out", "--steps", "0"], "Steps is 0", 2),
        ([".", "--output", "out", "--size", "65"], "The size 65x65 does not fit", 2),
        ([".", "--output", "out", "--seeds", "a"], "not a list of whole numbers", 2),
        ([".", "--output", "out"], "Give --prompt for a single clip", 2),
    ],
)
def test_bad_input_ends_in_one_sentence(
    arguments: list[str],
    said: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tokenflow_engine.command_line.evaluate import run

    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--json"]) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert json.loads(printed.out)["error"]["message"] in printed.err
    assert not (tmp_path / "out").exists()


def test_masks_say_what_should_not_change_where_no_exact_region_is_given(
    clips: Path, tmp_path: Path
) -> None:
    clip = read_clips(clips)[0]
    objects = np.zeros((FRAMES, SIZE, SIZE), np.uint8)
    objects[:, :, :32] = 255
    np.savez(tmp_path / "a.masks.npz", masks=objects)
    for edit, share in (
        ({"look": "blue"}, 0.5),
        ({"ground": "sand"}, 0.5),
        ({"sky": "night"}, None),
    ):
        other = replace(clip, masks=tmp_path / "a.masks.npz", edit=edit)
        truth = load_ground_truth(other, FRAMES, (SIZE, SIZE))
        if share is None:
            assert truth.unchanged is None
        else:
            assert truth.unchanged is not None
            assert truth.unchanged[0][:, :32].any() == ("ground" in edit)
            assert np.mean(truth.unchanged[0]) == share


def test_exact_flow_is_scaled_with_the_pictures(clips: Path) -> None:
    clip = read_clips(clips)[0]
    small = load_ground_truth(clip, FRAMES, (SIZE, SIZE))
    large = load_ground_truth(clip, FRAMES, (2 * SIZE, 2 * SIZE))
    assert large.exact_flow
    ratio = np.abs(large.flow.fields[0]).mean() / np.abs(small.flow.fields[0]).mean()
    assert ratio == pytest.approx(2, rel=0.05)
    wide = load_ground_truth(clip, FRAMES, (2 * SIZE, SIZE))
    assert not wide.exact_flow


def test_the_evaluation_set_covers_every_class_and_repeats_itself(tmp_path: Path) -> None:
    plans = [plan_clip(number) for number in range(40)]
    assert {kind for _, _, kind, _ in plans} == {"recolouring", "material", "ground", "sky"}
    assert {motion for _, motion, _, _ in plans} == {"roll", "bounce", "orbit", "spin", "dolly"}
    for scene, _, _, edit in plans:
        for name, value in edit.items():
            assert value in ATTRIBUTES[name] and value != getattr(scene, name)
    assert plans == [plan_clip(number) for number in range(40)]
    first = write_evaluation_set(tmp_path / "a", 1, 2, 32, start=3)
    assert first == write_evaluation_set(tmp_path / "b", 1, 2, 32, start=3)
    assert read_clips(tmp_path / "a")[0].kind == "sky"


def test_no_training_uses_the_evaluation_sets_seeds() -> None:
    attribute_classifier = pytest.importorskip("training.attribute_classifier")
    plan = pytest.importorskip("training.plan")
    used = {SEED, plan.Plan().seed, attribute_classifier.SEED}
    assert len(used | {attribute_classifier.HELD_OUT_SEED}) == 4


def test_the_attribute_classifier_reads_renders_it_has_not_seen_as_well_as_its_card_says() -> None:
    reader, card = load_reader(), load_card()
    scenes = [sample_scene(np.random.default_rng((SEED, 10**6 + i))) for i in range(80)]
    pictures = [render(scene, 96, 96).image for scene in scenes]
    read = reader.read(pictures)
    for name in ATTRIBUTES:
        right = np.mean([r[name] == getattr(s, name) for r, s in zip(read, scenes, strict=True)])
        assert right >= 0.9
        assert card["accuracy"][name] >= 0.95
        # Three standard errors of so small a sample.
        assert right >= card["accuracy"][name] - 0.08


def test_a_local_clip_model_judges_where_one_is_given(clips: Path, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    from tokenflow_engine.client.model_hash import EMBEDDED
    from tokenflow_engine.comparison.similarity import load_clip

    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    small |= {"num_hidden_layers": 1, "projection_dim": 8}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=small, vision_config=small | {"image_size": 32, "patch_size": 16}
    )
    CLIPModel(config).save_pretrained(tmp_path)
    for file in (EMBEDDED / "tokenizer").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    similarity = load_clip(tmp_path)
    frames = [np.full((40, 60, 3), 90, np.uint8)] * 3
    assert similarity.frame_consistency(frames) == pytest.approx(1, abs=1e-5)
    other = [*frames, np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)]
    assert similarity.frame_consistency(other) < 1 - 1e-4
    assert -1 <= similarity.text_alignment(frames, "a red ball") <= 1
    assert load_judges(read_clips(clips), tmp_path).similarity is not None
    with pytest.raises(TokenFlowError, match="no readable CLIP model"):
        load_clip(clips)
