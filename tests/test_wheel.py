"""The wheel is what users get: built, installed in an environment of its own, and started from there."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from tests.e2e.terminals import wait_until

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that holds nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], check=True, cwd=folder
    )
    (wheel,) = folder.glob("finetune_tui-*.whl")
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    constraints = str(ROOT / "constraints.txt")
    subprocess.run([str(binaries / "pip"), "install", "-q", "-c", constraints, str(wheel)], check=True, cwd=folder)
    return binaries


def run(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(installed / "ft-tui"), *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def test_the_installed_program_runs_the_demo_to_its_verdict(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('a file of the user was imported')\n")
    done = run(installed, "demo", "--plain", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["base"]["valid_json"] <= 0.02
    assert result["tuned"]["valid_json"] >= 0.98
    assert Path(result["directory"]).is_dir()


def test_the_wheel_brings_no_package_that_another_distribution_has(installed: Path, tmp_path: Path) -> None:
    code = (
        "from importlib.metadata import packages_distributions as p; found = p();"
        "print(*sorted(k for k, names in found.items() if 'finetune-tui' in names and len(set(names)) == 1))"
    )
    done = subprocess.run(
        [str(installed / "python"), "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split() == ["finetune_core", "finetune_tui"]


def test_the_installed_program_carries_its_themes_and_licence(installed: Path, tmp_path: Path) -> None:
    code = "from finetune_tui.theming import shipped_themes; print(len(shipped_themes()))"
    done = subprocess.run(
        [str(installed / "python"), "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert int(done.stdout) >= 4


def test_the_installed_app_draws_its_first_screen(installed: Path, tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(
            installed / "ft-tui", ["ft-tui"], {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        )
    seen = b""
    deadline = time.monotonic() + 30
    while b"new run" not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536)
    os.write(terminal, b"q")
    os.waitpid(pid, 0)
    assert b"new run" in seen


RECIPE = """\
model: {source: demo}
data: {source: demo}
training: {max_steps: 120, micro_batch: 4, accumulation: 1}
saving: {every_steps: 10}
samples: {count: 0}
evaluation: {questions: 2}
hardware: {device: cpu}
"""


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a later version, whose trainer says so when it writes the result."""
    folder = tmp_path_factory.mktemp("later")
    for name in ("core", "tui", "themes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    change(folder / "core/finetune_core/__init__.py", '__version__ = "', '__version__ = "9.')
    change(
        folder / "core/finetune_core/worker/training/outcome.py",
        '"writing the result"',
        '"writing the result as the later one does"',
    )
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist")]
    subprocess.run([*command, str(folder)], check=True, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_run_survives_an_upgrade_and_is_restarted_by_the_later_version(
    installed: Path, later: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    name = run(installed, "train", str(recipe), "--detach", cwd=tmp_path).stdout.split()[0]
    directory = Path(os.environ["FT_TUI_HOME"], "runs", name)
    events = directory / "events.jsonl"
    wait_until(
        lambda: events.exists() and '"checkpoint"' in events.read_text(),
        seconds=120,
        what=lambda: str(list(directory.iterdir())),
    )
    subprocess.run([str(installed / "pip"), "install", "-q", "--no-deps", str(later)], check=True, cwd=tmp_path)
    assert run(installed, "status", name, cwd=tmp_path).returncode == 0
    os.kill(json.loads((directory / "status.json").read_text())["trainer"]["pid"], signal.SIGKILL)
    done = run(installed, "attach", name, "--plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = events.read_text()
    assert "writing the result as the later one does" in told
    assert json.loads(told.splitlines()[-1])["state"] == "done"
    assert (directory / "result" / "adapter_model.safetensors").is_file()
