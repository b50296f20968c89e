from __future__ import annotations

from pathlib import Path

import pytest

from finetune_core.hardware import look as look_module
from finetune_core.hardware.installed_torch import TorchBuild
from finetune_core.hardware.look import look
from finetune_core.hardware.other_cards import other_card
from tests.fakes import FakeGpu, FakeNvml

CPU = TorchBuild("2.13.0+cpu", None, None)
ROCM = TorchBuild("2.13.0+rocm7.2", None, "7.2")


def system(root: Path, *vendors: str, kfd: bool = False) -> Path:
    for number, vendor in enumerate(vendors):
        folder = root / f"sys/class/drm/card{number}/device"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
    if kfd:
        (root / "dev").mkdir()
        (root / "dev/kfd").touch()
    return root


@pytest.mark.parametrize(
    ("vendors", "kfd", "said"),
    [
        ((), False, None),
        (("0x10de",), False, None),
        (("0x8086", "0x10de"), False, None),
        (("0x1a03",), False, None),
        (("0x1002",), False, "An AMD card"),
        ((), True, "An AMD card"),
        (("0x8086",), False, "An Intel graphics processor"),
    ],
)
def test_another_makers_card_is_named_with_what_to_do(
    tmp_path: Path, vendors: tuple[str, ...], kfd: bool, said: str | None
) -> None:
    found = other_card(CPU, system(tmp_path, *vendors, kfd=kfd))
    if said is None:
        assert found is None
    else:
        assert said in (found or "")
        assert "Take a host with an NVIDIA GPU" in (found or "")


def test_a_torch_for_rocm_is_named_and_what_was_never_tried(tmp_path: Path) -> None:
    words = other_card(ROCM, system(tmp_path, "0x1002", kfd=True)) or ""
    assert "built for ROCm 7.2" in words
    assert "never tried on ROCm" in words


def test_a_file_that_cannot_be_read_hides_no_other_card(tmp_path: Path) -> None:
    root = system(tmp_path, "0x8086", "0x1002")
    (root / "sys/class/drm/card0/device/vendor").unlink()
    (root / "sys/class/drm/card0/device/vendor").mkdir()
    assert "AMD" in (other_card(None, root) or "")


def test_the_machine_says_so_where_nvidias_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_module, "other_card", lambda _build: "An AMD card is here.")
    assert look(FakeNvml(broken="No NVIDIA driver was found.")).problem == "An AMD card is here."
    assert look(FakeNvml(FakeGpu())).problem is None


def test_in_wsl_the_driver_is_said_to_be_that_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "6.6.87.2-microsoft-standard-WSL2")
    problem = look(FakeNvml(broken="No NVIDIA driver was found.")).problem or ""
    assert "wsl --update" in problem
