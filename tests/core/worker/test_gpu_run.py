"""The same runs on a GPU; skipped where there is none."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from finetune_core.runs.directory import RunDir
from tests.core.worker import tiny

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU that torch can use"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def trained(home: Path, model: Path, data: Path, **changes: Any) -> RunDir:
    settings = {"hardware__device": "cuda", "model__dtype": "bfloat16"} | changes
    run = tiny.make_run(home, tiny.make_recipe(model, data, **settings))
    assert tiny.train(run) == 0, tiny.ended(run)
    return run


@pytest.mark.parametrize("method", ["none", "int8", "nf4"])
@pytest.mark.parametrize("packing", ["none", "bfd"])
def test_adapters_learn_on_every_kind_of_base(method: str, packing: str, home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, quantization__method=method, data__packing=packing)
    losses = list(tiny.losses(run).values())
    assert losses[-1] < losses[0] - 0.2
    assert (run.result / "adapter_model.safetensors").is_file()


def test_telemetry_reads_the_gpu_in_use(home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data)
    step = tiny.events(run, "step")[-1]
    assert 0 < step["memory"]["allocated"] <= step["memory"]["peak"] <= step["memory"]["reserved"]
    (gpu,) = step["gpus"]
    assert gpu["memory_total"] == pytest.approx(tiny.events(run, "plan")[0]["memory_total"], rel=0.05)


def test_full_fine_tuning_learns(home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, adapter__kind="none", model__dtype="float32")
    losses = list(tiny.losses(run).values())
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("method", ["none", "int8", "nf4"])
def test_float16_learns_with_scaled_gradients(method: str, home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, model__dtype="float16", quantization__method=method)
    losses = list(tiny.losses(run).values())
    assert losses[-1] < losses[0] - 0.2


def test_the_loss_is_the_same_without_triton(
    home: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.kernels import chunked_logprob

    fused = tiny.losses(trained(home, model, data))
    monkeypatch.setattr(chunked_logprob, "_TRITON_AVAILABLE", False)
    assert tiny.losses(trained(home, model, data)) == pytest.approx(fused, rel=0.02)


def test_full_fine_tuning_learns_in_float16_over_weights_in_float32(home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, adapter__kind="none", model__dtype="float16")
    assert tiny.events(run, "plan")[0]["dtype"] == "float32"
    losses = list(tiny.losses(run).values())
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_recomputed_activations_and_samples_in_between_change_no_loss(
    optimizer: str, home: Path, model: Path, data: Path
) -> None:
    every: dict[str, Any] = {"samples__every_steps": 1, "evaluation__every_steps": 1}
    plain = trained(home, model, data, training__optimizer=optimizer)
    again = trained(home, model, data, training__optimizer=optimizer, training__activation_checkpointing=True, **every)
    assert tiny.losses(again) == pytest.approx(tiny.losses(plain), rel=0.02)


@pytest.mark.parametrize("method", ["none", "nf4"])
def test_a_resumed_run_follows_the_unbroken_one(method: str, home: Path, model: Path, data: Path) -> None:
    run = trained(home, model, data, quantization__method=method)
    unbroken = tiny.losses(run)
    shutil.rmtree(run.checkpoints / "step-000012")
    assert tiny.train(run, resume=True) == 0
    assert tiny.losses(run) == pytest.approx(unbroken, rel=1e-3)


def test_a_model_too_large_for_the_gpu_is_told_by_how_much(home: Path, model: Path, data: Path) -> None:
    recipe = tiny.make_recipe(model, data, hardware__device="cuda")
    run = tiny.make_run(home, recipe)
    # So little is left that no step fits; what the driver keeps in pieces cannot be taken at once.
    taken = []
    for piece in (2**30, 2**26, 2**22):
        with suppress(torch.OutOfMemoryError):
            while True:
                taken.append(torch.empty(piece, dtype=torch.uint8, device="cuda"))
    try:
        assert tiny.train(run) == 3
    finally:
        taken.clear()
        torch.cuda.empty_cache()
    assert "the GPU ran out of memory" in tiny.ended(run)["cause"]
