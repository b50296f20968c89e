"""Helper processes end with whoever started them, however that ends and whatever they are doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_core.child_process import Helper, end_with

# At work in Python, in C code that never gives way to a thread, and asleep.
_BUSY = "while True: pass"
_DEEP = "pow(7, 10**9)"
_ASLEEP = "import time; time.sleep(10**6)"
_WITH_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"

_PARENT = """
import sys
from finetune_core.child_process import Helper
helper = Helper("timeit", ["-n", "1", "-r", "1", sys.argv[1]])
print(helper.pid, flush=True)
helper.wait()
"""


def gone(condition: Callable[[], bool], patience: float = 20.0) -> bool:
    deadline = time.monotonic() + patience
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def session(leader: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(number) == leader and state not in "ZX":
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("work", [_BUSY, _DEEP, _ASLEEP, _WITH_CHILD], ids=["busy", "in C", "asleep", "with a child"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_helper_and_all_it_started_end_when_its_parent_is_killed(work: str, how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, work], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    leader = int(parent.stdout.readline())
    assert gone(lambda: len(session(leader)) == (2 if work == _WITH_CHILD else 1))
    parent.send_signal(how)
    parent.wait()
    assert gone(lambda: not session(leader)), session(leader)


def test_a_helper_that_nobody_holds_any_more_ends() -> None:
    helper = Helper("timeit", ["-n", "1", _BUSY])
    leader = helper.pid
    assert session(leader) == [leader]
    del helper
    assert gone(lambda: not session(leader))


def test_a_helper_that_comes_up_after_its_parent_has_gone_ends_at_once() -> None:
    mine, other = os.pipe()
    os.close(other)
    child = os.fork()
    if not child:
        end_with(mine, group=False)
        os._exit(0)
    os.close(mine)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_helper_works_as_the_module_does_by_itself() -> None:
    helper = Helper("json.tool", ["--compact"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    answer, errors = helper.communicate(b'{"a": [1, 2]}')
    assert (answer, errors, helper.returncode) == (b'{"a":[1,2]}\n', b"", 0)
    assert os.getsid(0) != helper.pid
    broken = Helper("json.tool", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"Expecting value" in broken.communicate(b"")[1]
    assert broken.returncode == 1


def test_ending_a_helper_ends_what_it_started_too() -> None:
    helper = Helper("timeit", ["-n", "1", _WITH_CHILD])
    assert gone(lambda: len(session(helper.pid)) == 2)
    helper.end(0)
    assert gone(lambda: not session(helper.pid))
