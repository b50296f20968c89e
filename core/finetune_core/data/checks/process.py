"""The look at all rows in processes of its own, kept by content: a second visit is instant, and no screen waits."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from finetune_core.child_messages import Message, failure, run_child, say
from finetune_core.data.checks.check import DataReport, check, opened, silent
from finetune_core.data.checks.findings.report import Finding
from finetune_core.data.checks.findings.tally import Tally
from finetune_core.data.files.base import never
from finetune_core.data.files.open import open_rows
from finetune_core.data.scan.scan import identity_of
from finetune_core.data.shapes.recognise import Choice
from finetune_core.errors import FtError
from finetune_core.files import read_sealed, write_sealed
from finetune_core.paths import cache_root, private_folder

_LARGEST: Final = 256 * 1024 * 1024


def check_source(
    source: str,
    choice: Choice,
    *,
    held_out: str | None = None,
    progress: Callable[[int], None] = silent,
    cancel: Callable[[], bool] = never,
) -> DataReport:
    """The report of `finetune_core.data.checks.check.check`, by processes of its own, and kept. FtError when they die.

    Once `cancel` said so, the report is that of the first rows alone.
    """
    report, file = opened(source, choice)
    found = None if file is None else check_apart(source, choice, progress, cancel, held_out=held_out)
    if found is not None:
        report.rows, report.usable = found.rows, found.usable
        report.findings, report.tally = found.findings, found.tally
    return report


def check_apart(
    source: str,
    choice: Choice,
    progress: Callable[[int], None] = silent,
    cancel: Callable[[], bool] = never,
    *,
    held_out: str | None = None,
) -> DataReport | None:
    """The findings of all rows of a source that can be opened; None once `cancel` said so. Blocking; run in a thread.

    Of the report, `rows`, `usable`, `tally` and `findings` are filled; findings know how many rows they are in, and
    the first of them. `progress` is called with rows looked at. FtError when the source cannot be opened or the process
    dies.
    """
    asked = json.dumps([source, choice.shape, dict(choice.mapping), dict(choice.fixes), held_out], sort_keys=True)
    place = _place(source, held_out, asked)
    known = _kept(place)
    if known is not None:
        return _report(source, known)

    def send(message: Message) -> None:
        progress(int(message["rows"]))

    done = run_child(__name__, [asked], send, cancel)
    if done is None:
        return None
    with suppress(OSError):
        # Without what is kept a look is only slower.
        write_sealed(place, done, durable=False)
    return _report(source, done)


def _place(source: str, held_out: str | None, asked: str) -> Path:
    content = [identity_of(open_rows(source))]
    with suppress(FtError):
        content += [] if held_out is None else [identity_of(open_rows(held_out, held_out=True))]
    key = hashlib.sha256(f"{_program()} {content} {asked}".encode()).hexdigest()
    return private_folder(cache_root() / "checks") / f"{key}.json"


@cache
def _program() -> str:
    """What distinguishes this version of the checks: what an older one found must not be shown."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return repr([(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in files])


def _kept(place: Path) -> Message | None:
    found = read_sealed(place, _LARGEST)
    return found if found is not None and {"rows", "usable", "findings", "tally"} <= set(found) else None


def _report(source: str, found: Message) -> DataReport:
    findings = [Finding.from_json(one) for one in found["findings"]]
    tally = Tally.from_json(found["tally"])
    return DataReport(source, rows=int(found["rows"]), usable=int(found["usable"]), findings=findings, tally=tally)


def main() -> None:
    """The process: look at the rows that the one argument names, and say how far it is and what was found."""
    source, shape, mapping, fixes, held_out = json.loads(sys.argv[1])
    choice = Choice(shape, mapping, fixes)
    try:
        report = check(source, choice, held_out=held_out, progress=lambda rows: say({"rows": rows}))
    except FtError as error:
        say(failure(error))
        return
    if report.refused is not None:
        say(failure(FtError(report.refused)))
        return
    found = [finding.to_json() for finding in report.findings]
    counts = {"rows": report.rows, "usable": report.usable, "tally": report.tally.to_json()}
    say({"done": {**counts, "findings": found}})


if __name__ == "__main__":
    main()
