"""What would end a detached run when its user logs out, and the way around it."""

from __future__ import annotations

import configparser
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from finetune_core.errors import Problem

_CONFIG_FOLDERS = ("usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd")
_BATCH_JOBS = {"SLURM_JOB_ID": "Slurm", "PBS_JOBID": "PBS", "LSB_JOBID": "LSF", "FLUX_JOB_ID": "Flux"}
_SESSION = re.compile(r"/session-[^/]+\.scope(/|$)", re.MULTILINE)
SCOPE_COMMAND = ("systemd-run", "--user", "--scope", "--quiet", "--collect", "--")
_TRUE = {"1", "yes", "true", "on", "y", "t"}


def logout_risk(root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> Problem | None:
    """Why a run started here would die although it is detached; None when nothing known would end it.

    `root` is the file system looked at, `environment` the variables of the shell (this process's own when None).
    """
    variables = os.environ if environment is None else environment
    if (scheduler := batch_job(variables)) is not None:
        return Problem(
            f"a run started here ends with the {scheduler} job",
            where=f"${next(name for name, found in _BATCH_JOBS.items() if found == scheduler)}",
            why=f"{scheduler} ends every process of a job when the job is over",
            remedy="ask for a job long enough for the run, or start it as a batch job of its own",
        )
    return _end_of_session(root) or _end_by_pressure(root)


def batch_job(environment: Mapping[str, str] | None = None) -> str | None:
    """The scheduler whose job this process belongs to; None outside of one. `environment` as of `logout_risk`."""
    variables = os.environ if environment is None else environment
    return next((scheduler for variable, scheduler in _BATCH_JOBS.items() if variables.get(variable)), None)


def _end_by_pressure(root: Path) -> Problem | None:
    """systemd-oomd ends a whole session when memory is short, before the kernel would end one process."""
    if not (root / "run/systemd/io.systemd.ManagedOOM").exists() or not _SESSION.search(
        _text(root / "proc/self/cgroup") + "\n"
    ):
        return None
    return Problem(
        "when this machine's memory runs short, the run may be ended with the whole session",
        where="systemd-oomd",
        why="it watches memory pressure and ends a control group at a time, the run and this shell together",
        remedy="keep a few GiB of memory free; the run goes on from its last checkpoint with `ft-tui resume`",
    )


def _end_of_session(root: Path) -> Problem | None:
    if not killed_at_logout(root) or can_escape(root):
        return None
    user = _user()
    return Problem(
        "a run started here ends when you log out",
        where="logind.conf: KillUserProcesses",
        why="this machine ends every process of a login session with the session, detached or not",
        remedy=f"ask the administrator for `loginctl enable-linger {user}`, or stay logged in (tmux dies as well)",
    )


def killed_at_logout(root: Path = Path("/")) -> bool:
    """Whether this process lives in a login session whose processes logind ends at logout."""
    if not _SESSION.search(_text(root / "proc/self/cgroup")):
        return False
    settings = _logind_settings(root)
    if settings.get("killuserprocesses", "no").lower() not in _TRUE:
        return False
    user = _user()
    only = settings.get("killonlyusers", "").split()
    return user not in settings.get("killexcludeusers", "root").split() and (not only or user in only)


def can_escape(root: Path = Path("/")) -> bool:
    """Whether the run can be put outside the login session: lingering is on, and `systemd-run --user` works."""
    return (root / "var/lib/systemd/linger" / _user()).exists() and _scope_works()


@cache
def _scope_works() -> bool:
    if shutil.which(SCOPE_COMMAND[0]) is None:
        return False
    try:
        tried = subprocess.run(
            [*SCOPE_COMMAND, "true"], capture_output=True, stdin=subprocess.DEVNULL, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def _logind_settings(root: Path) -> dict[str, str]:
    """The [Login] section of logind.conf and its drop-ins, later ones first in force; keys in lower case."""
    settings: dict[str, str] = {}
    for path in _logind_files(root):
        parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        try:
            parser.read_string(_text(path))
        except configparser.Error:
            continue
        if parser.has_section("Login"):
            settings.update({key: value or "" for key, value in parser.items("Login")})
    return settings


def _logind_files(root: Path) -> Iterator[Path]:
    yield from (root / folder / "logind.conf" for folder in _CONFIG_FOLDERS)
    drop_ins = {
        path.name: path for folder in _CONFIG_FOLDERS for path in (root / folder / "logind.conf.d").glob("*.conf")
    }
    yield from (drop_ins[name] for name in sorted(drop_ins))


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
