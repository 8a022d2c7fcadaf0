"""The estimate of memory and disk, against the engine's own and against what must hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokenflow_engine.client.edit_request import EditRequest
from tokenflow_engine.client.needs import (
    DEMONSTRATION,
    STABLE_DIFFUSION,
    Needs,
    needs_of,
    smaller_plan,
)

REQUEST = EditRequest(source="s", prompt="a ball", output="o", steps=50, inversion_steps=50)
GB = 10**9


def needs(frames: int = 40, size: tuple[int, int] = (512, 512), **changes: object) -> Needs:
    request = replace(REQUEST, **changes)  # type: ignore[arg-type]
    return needs_of(request, frames, size, half=True, model=STABLE_DIFFUSION)


def test_a_usual_edit_needs_what_small_gpus_have() -> None:
    found = needs()
    assert 3 * GB < found.memory < 8 * GB
    assert found.pictures == 40 * 512 * 512 * 3
    # DESIGN counts 216 MB of correspondence fields for 40 frames and 50 steps.
    assert 0.3 * GB < found.cache < 3 * GB


def test_more_pixels_frames_and_steps_need_more_and_long_strips_need_no_more_memory() -> None:
    assert needs(size=(768, 768)).memory > needs().memory
    assert needs(frames=400).disk == pytest.approx(10 * needs().disk, rel=1e-6)
    assert needs(frames=4000).memory == needs(frames=400).memory
    assert needs(steps=25, inversion_steps=25).cache < needs().cache
    small = needs_of(REQUEST, 40, (192, 192), half=False, model=DEMONSTRATION)
    assert small.memory < GB


@pytest.mark.parametrize("gigabytes", [5.0, 6.0, 8.0])
def test_the_smaller_plan_fits_and_keeps_the_shape(gigabytes: float) -> None:
    available = int(gigabytes * GB)
    size = (1280, 720)
    plan = smaller_plan(REQUEST, 200, size, available, half=True, model=STABLE_DIFFUSION)
    assert plan is not None and plan.size is not None
    assert plan.validated() is plan
    assert needs_of(plan, 200, plan.size, half=True, model=STABLE_DIFFUSION).memory <= available
    assert plan.size[0] / plan.size[1] == pytest.approx(16 / 9, rel=0.03)
    assert min(plan.size) >= 256 and plan.chunk <= REQUEST.chunk


def test_what_fits_is_left_alone_and_what_cannot_fit_is_not_promised() -> None:
    many = smaller_plan(REQUEST, 40, (512, 512), 80 * GB, half=True, model=STABLE_DIFFUSION)
    none = smaller_plan(REQUEST, 40, (512, 512), 2 * GB, half=True, model=STABLE_DIFFUSION)
    assert many is None and none is None


@pytest.mark.parametrize("mode", ["smooth", "reference"])
def test_the_disk_is_estimated_as_the_engine_does_once_the_model_is_loaded(mode: str) -> None:
    torch = pytest.importorskip("torch")
    from types import SimpleNamespace

    from tokenflow_engine.phases.disk import bytes_needed
    from tokenflow_engine.tokenflow.propagation import RULES

    config = SimpleNamespace(
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        block_out_channels=STABLE_DIFFUSION.channels,
    )
    model = SimpleNamespace(
        unet=SimpleNamespace(config=config), latent_dtype=torch.float32, dtype=torch.float16
    )
    plan = SimpleNamespace(timesteps=range(50), feature_steps=40)
    changes = {"mode": mode, "source_prompt": "a cube"}
    run = SimpleNamespace(
        request=replace(REQUEST, **changes),
        size=(512, 384),
        frame_count=40,
        model=model,
        inversion_timesteps=range(50),
        plan=plan,
        rule=RULES[mode],
        keyframes=[range(5)],
    )
    by_engine = bytes_needed(run)  # type: ignore[arg-type]
    found = needs(size=(512, 384), **changes)
    assert (found.pictures, found.cache) == (by_engine.pictures, by_engine.cache)
