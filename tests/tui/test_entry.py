from __future__ import annotations

import subprocess
import sys

import pytest

from finetune_tui.entry import why_not_here

# A system without what only Linux, or only Unix, has: modules, functions of `os`, files of the kernel.
ELSEWHERE = """
import sys
sys.platform = {system!r}
import builtins, os, pathlib
for name in ("sched_getaffinity", "fork", "geteuid", "getuid", "killpg", "setsid", "pidfd_open", "memfd_create"):
    if hasattr(os, name):
        delattr(os, name)
missing = {{"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty"}}
real = builtins.__import__
def without(name, *arguments, **named):
    if name.partition(".")[0] in missing:
        raise ModuleNotFoundError("No module named " + repr(name))
    return real(name, *arguments, **named)
for name in missing:
    sys.modules.pop(name, None)
builtins.__import__ = without
opened = os.open
def no_kernel_files(path, *arguments, **named):
    if str(path).startswith(("/proc", "/sys")):
        raise FileNotFoundError(path)
    return opened(path, *arguments, **named)
os.open = no_kernel_files
sys.argv = ["ft-tui", *{arguments!r}]
from finetune_tui.entry import main
main()
"""


@pytest.mark.parametrize("arguments", [[], ["doctor"], ["train", "x.yaml"], ["--help"]])
@pytest.mark.parametrize(
    ("system", "words"),
    [("win32", ("Windows", "wsl --install")), ("darwin", ("macOS", "MPS", "ssh -t")), ("freebsd14", ("freebsd14",))],
)
def test_a_system_it_does_not_run_on_is_named_before_anything_of_it_is_called(
    system: str, words: tuple[str, ...], arguments: list[str]
) -> None:
    script = ELSEWHERE.format(system=system, arguments=arguments)
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=False, timeout=60,
                          env={"PYTHONPATH": "tui:core"})  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert all(word in done.stderr for word in words)
    assert "ft-tui runs on Linux" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_linux_is_not_refused() -> None:
    assert why_not_here() is None
