from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_core.runs.identity import Identity, machine


def test_the_present_process_is_alive() -> None:
    me = Identity.current()
    assert me.pid == os.getpid()
    assert me.alive()
    assert Identity.of(os.getpid()) == me


def test_a_pid_given_out_again_is_another_process() -> None:
    me = Identity.current()
    assert not me.model_copy(update={"start_time": me.start_time + 1}).alive()


def test_a_process_of_another_boot_or_machine_is_not_alive_here() -> None:
    other = Identity.current().model_copy(update={"boot_id": "another"})
    assert not other.here
    assert not other.alive()


def test_a_status_of_an_earlier_version_that_names_no_machine_still_counts() -> None:
    before = Identity.model_validate(Identity.current().model_dump(exclude={"machine"}))
    assert before.machine == ""
    assert before.alive()


def test_a_machine_is_named_by_no_id_that_others_know_it_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_id = tmp_path / "machine-id"
    monkeypatch.setattr("finetune_core.runs.identity._MACHINE_ID", machine_id)
    assert machine.__wrapped__() == ""
    machine_id.write_text("\n")
    assert machine.__wrapped__() == ""
    machine_id.write_text("0123456789abcdef0123456789abcdef\n")
    named = machine.__wrapped__()
    assert re.fullmatch(r"[0-9a-f]{32}", named)
    assert named not in machine_id.read_text()
    assert machine.__wrapped__() == named
    machine_id.write_text("fedcba9876543210fedcba9876543210\n")
    assert machine.__wrapped__() != named


def test_an_ended_process_is_not_alive_even_before_its_parent_has_asked_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = Identity.of(child.pid)
        assert found is not None
        assert found.alive()
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not found.alive()
    assert Identity.of(child.pid) is None


def test_a_command_name_with_spaces_and_brackets_does_not_shift_the_fields(tmp_path: object) -> None:
    code = "open('/proc/self/comm', 'w').write('a) S 1 2 ('); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = Identity.of(child.pid)
        assert found is not None
        assert found.start_time >= Identity.current().start_time
        assert child.stdin is not None
        child.stdin.close()


def test_a_group_without_its_leader_is_known_by_its_members_in_our_session() -> None:
    import subprocess
    import sys

    from finetune_core.runs.identity import has_members

    code = (
        "import subprocess, sys; subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL); print('go', flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], process_group=0, stdout=subprocess.PIPE) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"go\n"
        leader.wait()
        assert has_members(leader.pid)
        os.killpg(leader.pid, 9)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as elsewhere:
        assert not has_members(elsewhere.pid)
        elsewhere.kill()
