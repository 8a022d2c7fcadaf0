"""The training programs at toy size: seeded, resumable, and ending in a loadable pipeline."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenflow_engine.client.embedded_words import LOOKS  # noqa: E402
from tokenflow_engine.toyworld import (  # noqa: E402
    ATTRIBUTES,
    VOCABULARY,
    full_caption,
    render,
    sample_scene,
)
from training import stages  # noqa: E402
from training.adoption import adopt  # noqa: E402
from training.autoencoder import colour_start, make_autoencoder, normalise_latents  # noqa: E402
from training.denoiser import make_schedule  # noqa: E402
from training.export import export  # noqa: E402
from training.judgement import balanced_scenes, judge  # noqa: E402
from training.pictures import Pictures, scene_of, scene_of_codes  # noqa: E402
from training.plan import Plan, value_at  # noqa: E402
from training.samples import draw  # noqa: E402
from training.state import load_checkpoint, locked, save_checkpoint  # noqa: E402
from training.tokenizer import load_tokenizer  # noqa: E402
from training.unet_training import (  # noqa: E402
    Batch,
    draw_timesteps,
    load_denoiser,
    rate_at,
    samples_seen,
    shares_of_pictures,
    train_unet,
    weighted_loss,
)
from training.vae_training import (  # noqa: E402
    psnr,
    reconstruct,
    to_model,
    train_autoencoder,
)
from training.workers import Worker  # noqa: E402

REPOSITORY = Path(__file__).parents[1]
TINY = Plan(
    processes=1,
    size=96,
    shard=64,
    first_pictures=64,
    growth=((64, 8), (128, 16)),
    held_out=4,
    vae_channels=(16, 16, 16, 16),
    vae_batch=2,
    vae_crop=32,
    vae_large_crop=64,
    vae_steps=6,
    text_width=32,
    text_layers=1,
    unet_channels=(16, 16, 16, 16),
    unet_heads=(1, 1, 1, 1),
    unet_groups=4,
    small_batch=2,
    large_batch=2,
    large_share=((0, 0.5),),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in a real worker; sums then also come out the same every time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("state")
    stages.run_stage("run", TINY, state, hours=1)
    return state


@pytest.fixture(scope="module")
def renders() -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.stack([render(sample_scene(rng), 96, 96).image for _ in range(8)])


def test_colour_start_reconstructs_colours_before_any_training(renders: np.ndarray) -> None:
    torch.manual_seed(0)
    vae = make_autoencoder(TINY.vae_channels, 96)
    colour_start(vae, to_model(renders))
    decoded, _ = reconstruct(vae, renders)
    assert psnr(decoded, renders) > 19
    pooled = [
        each.reshape(8, 12, 8, 12, 8, 3).mean((2, 4)).reshape(-1, 3) for each in (decoded, renders)
    ]
    for colour in range(3):
        assert np.corrcoef(pooled[0][:, colour], pooled[1][:, colour])[0, 1] > 0.95


def test_normalised_latents_have_unit_deviation_and_decode_to_the_same_picture(
    renders: np.ndarray,
) -> None:
    torch.manual_seed(0)
    vae = make_autoencoder(TINY.vae_channels, 96)
    colour_start(vae, to_model(renders))
    before, _ = reconstruct(vae, renders)
    normalise_latents(vae, [to_model(renders)])
    after, latents = reconstruct(vae, renders)
    assert np.abs(before.astype(int) - after.astype(int)).max() <= 1
    assert latents.mean((0, 2, 3)).abs().max() < 1e-3
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_every_word_of_the_vocabulary_is_one_token(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(TINY, tmp_path)
    for word in VOCABULARY:
        assert len(tokenizer(word).input_ids) == 3, word
    again = load_tokenizer(TINY, tmp_path / "again")
    assert again.get_vocab() == tokenizer.get_vocab()


def test_timesteps_cover_the_range_and_favour_noise() -> None:
    timesteps = draw_timesteps(1000, 0.5, np.random.default_rng(0))
    assert timesteps.min() >= 0 and timesteps.max() <= 999
    assert timesteps.float().mean() == pytest.approx(1000 / 1.5, rel=0.02)


def test_loss_weighs_the_object_and_is_zero_for_the_true_noise() -> None:
    alphas = make_schedule().alphas_cumprod
    masks = torch.zeros(1, 1, 2, 2)
    masks[..., 0] = 1
    noise = torch.zeros(1, 4, 2, 2)
    batch = Batch(noise, noise, masks, torch.tensor([500]), torch.zeros(1, 1))
    on_object, off_object = torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    on_object[..., 0], off_object[..., 1] = 1, 1

    def loss(predicted: torch.Tensor) -> float:
        return float(weighted_loss(predicted, batch, alphas, object_weight=3, snr_limit=5))

    assert loss(noise) == 0
    assert loss(on_object) == pytest.approx(0.75)
    assert loss(off_object) == pytest.approx(0.25)


def test_rate_is_constant_and_falls_at_the_end() -> None:
    plan = replace(TINY, growth=((8, 1_000_000),), cooldown=0.1)
    assert rate_at(plan, 0) < plan.unet_rate / 10
    assert rate_at(plan, 500_000) == plan.unet_rate
    assert rate_at(plan, 950_000) == pytest.approx(plan.unet_rate / 2)


def test_a_course_has_the_value_of_the_last_start_that_is_reached() -> None:
    course = ((0, 0.1), (100, 0.5), (200, 0.9))
    assert [value_at(course, seen) for seen in (0, 99, 100, 199, 5000)] == [0.1, 0.1, 0.5, 0.5, 0.9]


def test_held_out_pictures_are_never_drawn_and_patterns_more_often() -> None:
    marble, red = LOOKS.index("marble"), LOOKS.index("red")
    attributes = np.array([[look, 0, 0, 0] for look in (marble, red, marble, red, red)])
    shares = shares_of_pictures(attributes, held_out=1, pattern_weight=3)
    assert shares == pytest.approx([0, 1 / 6, 1 / 2, 1 / 6, 1 / 6])


def test_the_rate_warms_up_again_where_training_begins_anew() -> None:
    plan = replace(TINY, growth=((8, 1_000_000),))
    assert rate_at(plan, 500_000, begun=500_000) == rate_at(plan, 0)
    assert rate_at(plan, 600_000, begun=500_000) == plan.unet_rate


def test_shards_hold_the_scenes_that_their_numbers_name(finished: Path) -> None:
    pictures = Pictures(TINY, finished)
    assert len(pictures) == 128
    scene = scene_of(TINY, 70)
    assert (pictures[70] == render(scene, TINY.size, TINY.size).image).all()
    assert full_caption(scene_of_codes(pictures.attributes[70])) == full_caption(scene)
    assert pictures.masks[70].max() == 255


def test_a_run_trains_to_its_end_and_a_second_one_has_nothing_to_do(finished: Path) -> None:
    checkpoint = load_checkpoint(finished / "unet.pt")
    assert checkpoint is not None and checkpoint["seen"] == 16
    stamps = {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")}
    stages.run_stage("run", TINY, finished, hours=1)
    assert stamps == {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")}


class StoppedAfter(Worker):
    """A worker in this process that is told to stop after so many steps."""

    steps_left = 10**9

    def should_stop(self) -> bool:
        self.steps_left -= 1
        return self.steps_left <= 0


def in_process(steps: int) -> StoppedAfter:
    worker = StoppedAfter(rank=0, count=1, deadline=0)
    worker.steps_left = steps
    return worker


def test_interrupted_autoencoder_training_ends_with_the_same_weights(
    finished: Path, tmp_path: Path
) -> None:
    for name, steps in (("whole", (100,)), ("parts", (2, 1, 100))):
        state = tmp_path / name
        shutil.copytree(finished / "pictures", state / "pictures")
        for count in steps:
            train_autoencoder(in_process(count), TINY, state)
    whole, parts = (load_checkpoint(tmp_path / name / "vae.pt") for name in ("whole", "parts"))
    assert whole is not None and parts is not None and parts["step"] == TINY.vae_steps
    for key, weight in whole["average"].items():
        assert torch.equal(weight, parts["average"][key]), key


def test_interrupted_unet_training_ends_with_the_same_weights(
    finished: Path, tmp_path: Path
) -> None:
    for name, steps in (("whole", (100,)), ("parts", (3, 100))):
        state = tmp_path / name
        shutil.copytree(finished / "latents", state / "latents")
        for count in steps:
            train_unet(in_process(count), TINY, state, 64, 12)
    whole, parts = (load_checkpoint(tmp_path / name / "unet.pt") for name in ("whole", "parts"))
    assert whole is not None and parts is not None and parts["seen"] == 12
    for key, weight in whole["average"].items():
        assert torch.equal(weight, parts["average"][key]), key


def test_exported_folder_loads_as_a_pipeline_and_draws(finished: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    export(TINY, finished, tmp_path)
    files = [path.suffix for path in tmp_path.rglob("*") if path.is_file()]
    assert set(files) <= {".json", ".safetensors", ".txt"}
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    prompt = "a red ball on grass under a blue sky"
    generator = torch.Generator().manual_seed(1000)
    image = pipeline(
        [prompt],
        height=64,
        width=64,
        num_inference_steps=3,
        guidance_scale=5.0,
        generator=[generator],
        output_type="np",
    ).images[0]
    own = draw(load_denoiser(TINY, finished), TINY, finished, [prompt], side=64, steps=3)[0]
    # The export is in half precision.
    assert np.abs((image * 255) - own).max() < 6


def test_training_goes_on_from_an_exported_folder_when_the_state_is_gone(
    finished: Path, tmp_path: Path
) -> None:
    model, state = tmp_path / "model", tmp_path / "state"
    export(TINY, finished, model)
    adopt(TINY, state, model)
    before, after = load_denoiser(TINY, finished), load_denoiser(TINY, state)
    for key, weight in before.state_dict().items():
        if weight.is_floating_point():
            # The export is in half precision.
            assert (after.state_dict()[key] - weight).abs().max() < 1e-3, key
    assert samples_seen(state) == 16
    stages.run_stage("run", TINY.ended_at(20), state, hours=1)
    assert samples_seen(state) == 20
    with pytest.raises(FileExistsError, match="already holds a run"):
        adopt(TINY, state, model)


def test_a_folder_that_holds_no_export_is_not_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no model"):
        adopt(TINY, tmp_path / "state", tmp_path)


def test_a_plan_ended_earlier_keeps_what_comes_before() -> None:
    plan = replace(TINY, growth=((10, 100), (20, 400), (30, 900)))
    assert plan.ended_at(250).growth == ((10, 100), (20, 250))
    assert plan.ended_at(50).growth == ((10, 50),)
    assert plan.ended_at(2000).growth == ((10, 100), (20, 400), (30, 900), (30, 2000))


def test_judgement_draws_every_value_equally_often_and_counts(finished: Path) -> None:
    scenes = balanced_scenes(104, np.random.default_rng(0))
    for name, values in ATTRIBUTES.items():
        counts = [sum(getattr(scene, name) == value for scene in scenes) for value in values]
        assert max(counts) - min(counts) <= 1
    accuracy = judge(TINY, finished, count=8, side=64)
    assert all(0 <= share <= 1 for share in accuracy.values())
    assert (finished / "judgement_64.png").exists()


def test_a_checkpoint_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "it.pt"
    assert load_checkpoint(path) is None
    for step in (1, 2):
        save_checkpoint(path, {"step": step, "weights": {"a": torch.ones(2)}})
        loaded = load_checkpoint(path)
        assert loaded is not None and loaded["step"] == step
    assert [each.name for each in path.parent.iterdir()] == ["it.pt"]


def test_one_folder_takes_one_run_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_killed_run_continues_where_it_was(tmp_path: Path) -> None:
    code = (
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from tests.test_training import TINY\n"
        "from training.stages import run_stage\n"
        "if __name__ == '__main__':\n"
        f"    plan = replace(TINY, processes=2, vae_steps=100000, checkpoint_seconds=0.5)\n"
        f"    run_stage('run', plan, Path({str(tmp_path)!r}), hours=1)\n"
    )
    script = tmp_path / "training_run.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    def start_until(step: int) -> int:
        process = subprocess.Popen([sys.executable, script], env=environment, cwd=REPOSITORY)
        try:
            for _ in range(3000):
                checkpoint = load_checkpoint(tmp_path / "vae.pt")
                if checkpoint is not None and checkpoint["step"] > step:
                    return int(checkpoint["step"])
                assert process.poll() is None
                time.sleep(0.1)
            raise AssertionError("The training made no checkpoint.")
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    reached = start_until(0)
    assert start_until(reached) > reached
