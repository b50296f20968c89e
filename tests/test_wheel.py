"""The wheel is what users get: built, installed in an environment of its own, and started from there."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that holds nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], check=True, cwd=folder
    )
    (wheel,) = folder.glob("ft_tui-*.whl")
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


def test_the_installed_program_carries_its_themes_and_licence(installed: Path, tmp_path: Path) -> None:
    code = "from ft_tui.theming import shipped_themes; print(len(shipped_themes()))"
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
