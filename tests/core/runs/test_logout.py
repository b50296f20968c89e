from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from finetune_core.runs.start import logout
from finetune_core.runs.start.logout import logout_risk


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which this process lives in a login session; logind.conf is still to be written."""
    monkeypatch.setattr(logout, "_scope_works", lambda: False)
    monkeypatch.setattr(logout, "_user", lambda: "ada")
    root = tmp_path / "root"
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/user.slice/user-1000.slice/session-3.scope\n")
    (root / "etc/systemd").mkdir(parents=True)
    return root


def configure(root: Path, text: str, file: str = "etc/systemd/logind.conf") -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_machine_that_kills_at_logout_is_told_with_what_to_ask_for(machine: Path) -> None:
    configure(machine, "[Login]\n#HandleLidSwitch=suspend\nKillUserProcesses=yes\n")
    risk = logout_risk(machine, {})
    assert risk is not None
    assert "enable-linger ada" in risk.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[Login]\n#KillUserProcesses=yes\n",
        "[Login]\nKillUserProcesses=no\n",
        "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=root ada\n",
        "[Login]\nKillUserProcesses=yes\nKillOnlyUsers=eve\n",
        "not a configuration",
    ],
)
def test_a_machine_that_spares_this_user_is_no_risk(machine: Path, text: str) -> None:
    configure(machine, text)
    assert logout_risk(machine, {}) is None


def test_a_drop_in_overrules_the_main_file(machine: Path) -> None:
    configure(machine, "[Login]\nKillUserProcesses=no\n")
    configure(machine, "[Login]\nKillUserProcesses=true\n", "etc/systemd/logind.conf.d/50-kill.conf")
    assert logout_risk(machine, {}) is not None


def test_a_drop_in_of_the_administrator_hides_the_vendors_of_the_same_name(machine: Path) -> None:
    configure(machine, "[Login]\nKillUserProcesses=yes\n", "usr/lib/systemd/logind.conf.d/50-kill.conf")
    configure(machine, "[Login]\nKillUserProcesses=no\n", "etc/systemd/logind.conf.d/50-kill.conf")
    assert logout_risk(machine, {}) is None


def test_outside_a_login_session_nothing_is_killed_at_logout(machine: Path) -> None:
    configure(machine, "[Login]\nKillUserProcesses=yes\n")
    (machine / "proc/self/cgroup").write_text("0::/system.slice/ssh.service\n")
    assert logout_risk(machine, {}) is None


def test_lingering_is_a_way_out_only_where_a_scope_can_be_made(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(machine, "[Login]\nKillUserProcesses=yes\n")
    configure(machine, "", "var/lib/systemd/linger/ada")
    assert logout_risk(machine, {}) is not None
    monkeypatch.setattr(logout, "_scope_works", lambda: True)
    assert logout_risk(machine, {}) is None


def test_a_batch_job_ends_its_runs_with_it(machine: Path) -> None:
    risk = logout_risk(machine, {"SLURM_JOB_ID": "42"})
    assert risk is not None
    assert "Slurm" in risk.what


def test_the_real_machine_is_looked_at_without_harm() -> None:
    logout_risk()
    assert logout._user() == getpass.getuser()


def test_a_machine_whose_oomd_ends_sessions_is_told(machine: Path) -> None:
    (machine / "run/systemd").mkdir(parents=True)
    (machine / "run/systemd/io.systemd.ManagedOOM").touch()
    risk = logout_risk(machine, {})
    assert risk is not None
    assert risk.where == "systemd-oomd"
    (machine / "proc/self/cgroup").write_text("0::/system.slice/cron.service\n")
    assert logout_risk(machine, {}) is None
