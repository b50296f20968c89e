"""A machine without a GPU, and an empty folder to stand in."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_core.hardware.installed_torch import TorchBuild
from finetune_core.hardware.torch_fit import NOT_TRIED
from tests.fakes import FakeNvml, host
from tests.tui.wizard_driver import (
    use_gpus,
    use_torch,
)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every machine looks alike: without a GPU, unless a test brings one."""
    use_gpus(monkeypatch, FakeNvml(broken="No NVIDIA driver was found."))
    monkeypatch.setattr("finetune_core.hardware.look.look_at_host", host)
    use_torch(monkeypatch, TorchBuild("2.13.0+cu126", "12.6", None), NOT_TRIED)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests stand in an empty folder, so that they type short names."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
