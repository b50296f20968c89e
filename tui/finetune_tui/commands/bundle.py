"""`ft-tui doctor --bundle [RUN]`: one archive for a bug report, shown before it is written."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import time
import zipfile
from pathlib import Path

import click

from finetune_core.errors import FtError, problem
from finetune_core.paths import refused
from finetune_core.runs.directory import RunDir
from finetune_core.runs.upkeep.anonymous import Anonymous
from finetune_core.runs.upkeep.bundle import run_files
from finetune_core.text import bytes_text, one_line
from finetune_tui.commands import output

_NOTE = """\
What this is: a report on ft-tui, made by `ft-tui doctor --bundle`.
In it: versions, what the doctor found, and of a run its recipe, journal, log and list of files.
Not in it: rows, samples, prompts, answers, tokens; paths, names of users and machines, long quotations are taken out.
"""


def bundle(run: RunDir | None, to: Path | None, *, yes: bool, as_json: bool) -> None:
    """Show all that would be in the archive, ask, and write it."""
    target = to or Path(f"ft-tui-report-{time.strftime('%Y%m%d-%H%M%S')}.zip")
    files = collected(run)
    if not as_json:
        _show(files)
    if not yes:
        _ask(target, files)
    _write(target, files)
    if as_json:
        output.data_json({"archive": str(target), "files": {name: len(text) for name, text in files.items()}})
    else:
        output.words(f"Written: {target} ({bytes_text(target.stat().st_size)}). Nothing was sent anywhere.")


def collected(run: RunDir | None) -> dict[str, str]:
    """Names and texts of the archive's files."""
    from finetune_tui import doctor

    hide = Anonymous()
    own = run_files(run, hide) if run is not None else {}
    # Other people's processes are none of a bug report.
    report = re.sub(r"in use by [^\n]*", "in use by others", doctor.as_text(doctor.examine()))
    lines = "".join(hide(line) + "\n" for line in report.splitlines())
    return {"about.txt": _NOTE, "doctor.txt": lines, "versions.txt": _versions(), **own}


def _versions() -> str:
    """Python, system, and every package that is installed here."""
    found = {f"{one.metadata['Name']}=={one.version}" for one in importlib.metadata.distributions()}
    system = f"Python {platform.python_version()}, {platform.system()} {platform.release()} {platform.machine()}"
    return "\n".join([system, *sorted(found, key=str.lower)]) + "\n"


def _show(files: dict[str, str]) -> None:
    """The whole content, in a pager where there is a terminal."""
    text = "\n".join(f"===== {name}\n{content}" for name, content in files.items())
    if sys.stdout.isatty() and sys.stdin.isatty():
        click.echo_via_pager(text)
    else:
        output.data(text)


def _ask(target: Path, files: dict[str, str]) -> None:
    """Go on only after a yes. FtError for anything else, and where nobody can be asked."""
    if not sys.stdin.isatty():
        raise _not_written("nobody can be asked without a terminal", "read what was printed, then say it: --yes")
    names = ", ".join(files)
    if not click.confirm(f"Write this ({names}) to {one_line(str(target), 200)}?", default=False, err=True):
        raise _not_written("you said no", "nothing was kept of it")


def _write(target: Path, files: dict[str, str]) -> None:
    """A new file; one that is there stays."""
    try:
        with target.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                # Without the owner and the times that files would bring along.
                archive.writestr(zipfile.ZipInfo(f"ft-tui-report/{name}"), text.encode(), zipfile.ZIP_DEFLATED)
    except FileExistsError as error:
        raise _not_written(f"{one_line(str(target), 200)} is there already", "name another file: --to FILE") from error
    except OSError as error:
        raise refused(error, target, "the archive cannot be written") from error


def _not_written(why: str, remedy: str) -> FtError:
    return problem("no archive was written", where="doctor --bundle", why=why, remedy=remedy)
