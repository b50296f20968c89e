"""Over a real ssh to this machine: the connection is killed in the middle, the run goes on, a new one reattaches."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ft_core import demo
from ft_core.recipe.check import with_values
from ft_core.recipe.schema import Recipe
from ft_core.recipe.yaml_io import save
from ft_core.runs.directory import find_run
from ft_core.runs.status import live
from tests.e2e.conftest import FT_TUI
from tests.e2e.runs import LONGER, state, steps
from tests.e2e.terminals import PtyTerminal, wait_for, wait_until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="openssh is not installed here")


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[list[str]]:
    """The ssh command to an sshd on loopback with keys of its own."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options: dict[str, object] = {
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "PidFile": tmp_path / "sshd.pid",
        "ListenAddress": "127.0.0.1",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
    }
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = [str(SSHD), "-D", "-e", "-f", "/dev/null", "-p", port, *as_options(options)]
    client = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": tmp_path / "known", "LogLevel": "ERROR"}
    address = f"{getpass.getuser()}@127.0.0.1"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        yield ["ssh", "-tt", "-p", port, "-i", str(tmp_path / "user"), *as_options(client), address]
        server.terminate()


def as_options(options: dict[str, object]) -> list[str]:
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def connect(ssh: list[str], environment: dict[str, str], *command: str, cwd: Path) -> PtyTerminal:
    variables = [f"{name}={value}" for name, value in environment.items()]
    deadline = time.monotonic() + 10
    while subprocess.run([*ssh, "true"], capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline, "sshd does not answer"
    return PtyTerminal([*ssh, "env", *variables, *command], size=(100, 30), env={}, cwd=cwd)


def test_a_run_survives_a_killed_connection_and_is_found_again(
    ssh: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    save(with_values(Recipe(), {**demo.recipe_values(), **LONGER}), recipe)
    first = connect(ssh, environment, FT_TUI, "train", str(recipe), cwd=tmp_path)
    wait_for(first, "training", seconds=90)
    run = find_run()
    wait_until(lambda: len(steps(run)) >= 3, seconds=60, what=lambda: state(run))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert live(run)
    second = connect(ssh, environment, FT_TUI, "attach", cwd=tmp_path)
    wait_for(second, r"training|evaluating|done")
    wait_until(lambda: state(run) == "done", seconds=120, what=lambda: run.log_file.read_text()[-2000:])
    wait_for(second, "done")
    second.press("q")
    second.press("q")
    second.wait()
    assert steps(run) == list(range(1, len(steps(run)) + 1))
