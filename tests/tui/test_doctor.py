from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune_core import __version__
from finetune_core.errors import Problem
from finetune_core.hardware.host import Host
from finetune_core.hardware.installed_torch import TorchBuild
from finetune_core.hardware.look import Gpu, GpuProcess, Hardware
from finetune_core.hardware.torch_fit import NOT_TRIED
from finetune_tui import doctor
from finetune_tui.cli import cli
from finetune_tui.doctor import Check, as_data, as_text, examine

GIB = 2**30
HOST = Host("Some CPU", 8, 64 * GIB, 32 * GIB, Path("/"), 10**12, 2 * 10**12)


def gpu(*processes: GpuProcess) -> Gpu:
    return Gpu(
        index=0, uuid="GPU-1", name="H200", memory_total=141 * GIB, memory_used=GIB, memory_free=140 * GIB,
        processes=processes, compute_capability=(9, 0), bf16=True, utilisation=0, temperature=30, power_watts=80.0,
        power_limit_watts=700.0,
    )  # fmt: skip


def report(monkeypatch: pytest.MonkeyPatch, hardware: Hardware) -> dict[str, Check]:
    monkeypatch.setattr(doctor, "look", lambda: hardware)
    return {check.name: check for check in examine()}


def machine(*gpus: Gpu, problem: str | None = None, cuda: str | None = "13.0") -> Hardware:
    return Hardware(gpus, "580.1" if gpus else None, cuda, problem, HOST)


def test_every_line_that_is_not_ok_says_what_to_do() -> None:
    checks = examine()
    assert checks
    assert all(check.remedy for check in checks if check.level != "ok")


def test_the_report_names_python_packages_disk_terminal_folders_and_logout() -> None:
    names = {check.name for check in examine()}
    assert {"python", "torch", "trl", "torch build", "disk", "terminal", "runs in", "model cache", "logout"} <= names


def test_the_program_itself_is_reported_with_its_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert Check(project["name"], "ok", __version__) in list(examine())


def test_no_gpu_is_a_warning_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = report(monkeypatch, machine(problem="the NVIDIA driver is not loaded", cuda=None))["GPU"]
    assert found.level == "warn"
    assert "driver is not loaded" in found.text


def test_a_gpu_in_use_names_user_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = gpu(GpuProcess(4711, "ada", "train.py", 3 * GIB))
    found = report(monkeypatch, machine(busy))["GPU 0"]
    assert found.level == "warn"
    assert all(word in found.text for word in ("ada", "4711", "train.py", "bf16 yes", "9.0"))


@pytest.mark.parametrize(
    ("build", "level", "words"),
    [
        (TorchBuild("2.13.0+cpu", None, None), "fail", "'torch==2.13.0+cu130'"),
        (TorchBuild("2.13.0+cu130", "13.0", None), "ok", ""),
        (TorchBuild("2.11.0+cu128", "12.8", None), "ok", ""),
    ],
)
def test_torch_is_judged_for_each_gpu_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, build: TorchBuild, level: str, words: str
) -> None:
    monkeypatch.setattr(doctor, "installed_torch", lambda: build)
    monkeypatch.setattr(doctor, "try_kernel", lambda _hardware: NOT_TRIED)
    found = report(monkeypatch, machine(gpu()))["torch on GPU 0"]
    assert found.level == level
    assert words in (found.remedy or "")


@pytest.mark.parametrize(("card", "words"), [((7, 0), "int8"), ((5, 2), "nf4, int8 and the 8-bit optimizer")])
def test_what_bitsandbytes_lacks_on_an_old_card_is_named(
    monkeypatch: pytest.MonkeyPatch, card: tuple[int, int], words: str
) -> None:
    old = replace(gpu(), compute_capability=card, bf16=False)
    monkeypatch.setattr(doctor, "look", lambda: machine(old))
    found = [check.text for check in examine() if check.name == "bitsandbytes"]
    assert any(text.startswith(f"{words}: not on GPU 0") for text in found)


def test_a_run_that_would_die_at_logout_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    risk = Problem("runs end at logout", "logind.conf", "KillUserProcesses=yes", "ask for: loginctl enable-linger")
    monkeypatch.setattr(doctor, "logout_risk", lambda: risk)
    found = {check.name: check for check in examine()}["logout"]
    assert (found.level, found.remedy) == ("warn", "ask for: loginctl enable-linger")


def test_a_home_that_cannot_be_used_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FT_TUI_HOME", str(tmp_path / "file" / "home"))
    found = {check.name: check for check in examine()}["runs in"]
    assert found.level == "fail"
    assert "FT_TUI_HOME" in (found.remedy or "")


def test_levels_are_told_by_glyph_and_word_and_text_is_cleaned() -> None:
    text = as_text([Check("disk", "fail", "full \x1b[2J", "free some"), Check("x", "ok", "fine")])
    assert text.splitlines()[0].startswith("✗ fail  disk")
    assert "fix: free some" in text.splitlines()[1]
    assert "\x1b" not in text


def test_the_json_report_is_not_ok_when_a_line_fails() -> None:
    assert as_data([Check("a", "warn", "t", "r")])["ok"] is True
    assert as_data([Check("a", "fail", "t", "r")])["ok"] is False


def test_the_command_prints_the_report_as_json_and_text() -> None:
    found = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).stdout)
    assert {"name", "level", "text", "remedy"} == set(found["checks"][0])
    assert "python" in CliRunner().invoke(cli, ["doctor"]).stdout


def test_the_report_never_imports_the_training_stack() -> None:
    script = "import sys; from finetune_tui.doctor import examine; examine(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
