"""A failure is told by its cause and what to do, in plain words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from finetune_core.errors import FtError, Problem
from finetune_core.worker.failures import explain
from tests.core.worker import tiny


class OutOfMemoryError(RuntimeError):
    """Named and worded as torch's own, which a machine without a GPU cannot raise."""


def test_a_full_gpu_is_told_with_its_figures() -> None:
    error = OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.19 GiB is"
        " free. Including non-PyTorch memory, this process has 22.44 GiB memory in use."
    )
    cause, remedy = explain(error)
    assert cause == ("the GPU ran out of memory: 2.25 GiB more were needed, 1.19 GiB were free, the GPU has 23.64 GiB")
    assert "halve training.micro_batch and double training.accumulation" in remedy


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (RuntimeError("CUDA error: out of memory\nCompile with ..."), "the GPU ran out of memory", "micro_batch"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "the GPU ran out of memory", "nf4"),
        (RuntimeError("CUDA error: no kernel image is available for execution on"), "too old", "torch build"),
        (RuntimeError("CUDA error: unspecified launch failure\nFor debugging"), "failed: unspecified launch", "dmesg"),
        (
            ValueError("`rule` can't keep packed sequences apart without `flash-linear-attention`. Install"),
            "cannot be packed",
            "set data.packing to none",
        ),
    ],
)
def test_what_a_gpu_or_its_kernels_refuse_is_told_in_words(error: Exception, cause: str, remedy: str) -> None:
    assert cause in explain(error)[0]
    assert remedy in explain(error)[1]


def test_a_full_host_is_told_by_how_much() -> None:
    error = RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes."
    )
    assert explain(error)[0] == "the machine ran out of memory (8.00 GiB more were asked for)"
    assert "micro_batch" in explain(MemoryError())[1]


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a"), "the disk is full at /runs/a", "free some space"),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "/data/x.jsonl"),
            "a file is missing: /data/x.jsonl",
            "put it",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/root/m"), "no permission for /root/m", "permissions"),
        (ConnectionError("refused"), "the hub cannot be reached", "network"),
    ],
)
def test_trouble_with_files_and_network_is_told_by_name(error: Exception, cause: str, remedy: str) -> None:
    assert explain(error)[0] == cause
    assert remedy in explain(error)[1]


@pytest.mark.parametrize(
    ("name", "cause", "remedy"),
    [
        ("GatedRepoError", "gated (403)", "licence"),
        ("RepositoryNotFoundError", "no such model, or it is private (401/404)", "HF_TOKEN"),
        ("RevisionNotFoundError", "no such revision (404)", "model.revision"),
        ("LocalEntryNotFoundError", "not in the cache", "HF_HUB_OFFLINE"),
        ("OfflineModeIsEnabled", "not in the cache", "folder"),
    ],
)
def test_what_the_hub_says_is_told_by_name(name: str, cause: str, remedy: str) -> None:
    from huggingface_hub import errors

    error = getattr(errors, name).__new__(getattr(errors, name))
    assert cause in explain(error)[0]
    assert remedy in explain(error)[1]


def test_every_problem_is_told_the_first_ones_in_full() -> None:
    problems = [Problem(f"what {i}", f"where {i}", f"why {i}", "same remedy") for i in range(5)]
    cause, remedy = explain(FtError(problems))
    assert "where 0: what 0 (why 0)" in cause
    assert "and 2 more" in cause
    assert remedy == "same remedy"


def test_a_known_cause_is_found_behind_an_unknown_error() -> None:
    error = RuntimeError("could not save")
    error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert explain(error)[0] == "the disk is full"


def test_an_unknown_error_names_itself_and_the_log() -> None:
    cause, remedy = explain(ZeroDivisionError("division by zero"))
    assert cause == "ZeroDivisionError: division by zero"
    assert "ft-tui logs" in remedy


def test_a_damaged_weights_file_fails_the_run_with_its_cause_and_the_trace_in_the_log(
    tmp_path: Path, model: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    run = tiny.make_run(tmp_path, tiny.make_recipe(broken, data))
    assert tiny.train(run) == 3
    end = tiny.ended(run)
    assert end["state"] == "failed"
    assert "model.safetensors" in end["cause"]
    assert end["remedy"]
    assert "Traceback" in capfd.readouterr().err


def test_a_model_that_is_not_there_fails_within_the_first_phase(tmp_path: Path, data: Path) -> None:
    run = tiny.make_run(tmp_path, tiny.make_recipe(tmp_path / "nowhere", data))
    assert tiny.train(run) == 3
    assert "no such folder" in tiny.ended(run)["cause"]


def test_a_damaged_recipe_fails_the_run_and_not_the_reader(tmp_path: Path, model: Path, data: Path) -> None:
    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data))
    run.recipe_file.write_text("model: [")
    assert tiny.train(run) == 3
    assert "recipe.yaml" in tiny.ended(run)["cause"]


def test_without_a_run_directory_the_use_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    from finetune_core.worker.train import main

    assert main([]) == 2
    assert "RUN_DIR" in capsys.readouterr().err


def test_a_full_disk_at_a_checkpoint_is_told_and_training_goes_on(
    tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_core.worker.checkpoints import manager

    real = manager.save_weights
    full = iter([True, False, False])

    def save(tuned: object, folder: Path, *more: object) -> None:
        real(tuned, folder, *more)
        if next(full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(manager, "save_weights", save)
    run = tiny.make_run(tmp_path, tiny.make_recipe(model, data))
    assert tiny.train(run) == 0
    (alarm,) = tiny.events(run, "alarm")
    assert alarm["name"] == "checkpoint_failed"
    assert "the disk is full" in alarm["text"]
    assert [event["step"] for event in tiny.events(run, "checkpoint")] == [8, 12]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000008", "step-000012"]
