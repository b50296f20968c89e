"""A real sshd on loopback with keys of its own, and terminals over it."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from tests.e2e.terminals import PtyTerminal

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
INSTALLED = SSHD is not None and shutil.which("ssh") is not None


@contextmanager
def server(folder: Path) -> Iterator[list[str]]:
    """The ssh command to it."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options: dict[str, object] = {
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "PidFile": folder / "sshd.pid",
        "ListenAddress": "127.0.0.1",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "MaxStartups": "100",
    }
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = [str(SSHD), "-D", "-e", "-f", "/dev/null", "-p", port, *_options(options)]
    client = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": folder / "known", "LogLevel": "ERROR"}
    address = f"{getpass.getuser()}@127.0.0.1"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield ["ssh", "-tt", "-p", port, "-i", str(folder / "user"), *_options(client), address]
        finally:
            process.terminate()


@contextmanager
def delayed(ssh: list[str], seconds: float) -> Iterator[list[str]]:
    """The ssh command through a proxy that holds every byte back for so long, in both directions."""
    at = ssh.index("-p") + 1
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = ("127.0.0.1", int(ssh[at]))
        Thread(target=_serve, args=(listener, address, seconds), daemon=True).start()
        yield [*ssh[:at], str(listener.getsockname()[1]), *ssh[at + 1 :]]


def _serve(listener: socket.socket, address: tuple[str, int], seconds: float) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            try:
                far = socket.create_connection(address)
            except ConnectionRefusedError:
                # The server is not up yet: whoever connects here sees that, and tries again.
                near.close()
                continue
            for source, target in ((near, far), (far, near)):
                Thread(target=_hold_back, args=(source, target, seconds), daemon=True).start()


def _hold_back(source: socket.socket, target: socket.socket, seconds: float) -> None:
    """Send on what comes, each piece so many seconds after it came."""
    pieces: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def send() -> None:
        with suppress(OSError):
            while True:
                due, data = pieces.get()
                time.sleep(max(due - time.monotonic(), 0))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)

    Thread(target=send, daemon=True).start()
    data = b"."
    while data:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + seconds, data))


def _options(options: Mapping[str, object]) -> list[str]:
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def _answers(ssh: list[str], seconds: float) -> bool:
    """Whether a command runs at the other end within so many seconds: a server that hangs is none."""
    try:
        done = subprocess.run([*ssh, "true"], capture_output=True, check=False, timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def connect(ssh: list[str], environment: Mapping[str, str], *command: str, cwd: Path) -> PtyTerminal:
    """A terminal with the command at the other end, once sshd answers."""
    deadline = time.monotonic() + 10
    while not _answers(ssh, deadline - time.monotonic()):
        assert time.monotonic() < deadline, "sshd does not answer"
    return reconnect(ssh, environment, *command, cwd=cwd)


def reconnect(ssh: list[str], environment: Mapping[str, str], *command: str, cwd: Path) -> PtyTerminal:
    """As `connect`, of a server that has answered before."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    return PtyTerminal([*ssh, "env", *variables, *command], size=(100, 30), env={}, cwd=cwd)
