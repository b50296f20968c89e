"""The process of a full scan: `python -P -m finetune_core.data.scan.process SOURCE train|held-out`.

The rows are parsed by as many processes as there are cores. Progress and result go as JSON lines to standard output.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from finetune_core.child_messages import failure, say
from finetune_core.data.files.base import RowFile, unreadable
from finetune_core.data.files.open import open_rows
from finetune_core.data.files.part_found import COLUMNS, PROBLEMS, Found
from finetune_core.data.files.row_offsets import Fault
from finetune_core.data.files.text_file import TextFile
from finetune_core.data.scan.parallel import files_of, look_in_parts
from finetune_core.data.scan.parts import Part
from finetune_core.data.scan.scan import BadRow, FileScan, Progress, Scan, identity_of, to_json
from finetune_core.errors import FtError, Problem, problem

_TOLD_SECONDS = 0.1
_MARKS = 20_000


class _Sum:
    """What the parts held, added up in their order."""

    def __init__(self, file: RowFile) -> None:
        self.files_of_rows = files_of(file)
        self.rows = self.bad = self.bytes = 0
        self.problems: list[BadRow] = []
        self.columns: Counter[str] = Counter()
        self.files: list[FileScan] = []
        self._marks: list[tuple[int, int, int]] = []
        self.told_files = self._told_marks = 0
        self._begun = self._lines = 0

    def add(self, part: Part, found: Found) -> None:
        """Add the next part of the file that is at its turn."""
        within = self.rows - self._begun
        lines = self._lines + self._lines_before()
        for bad in found.bad_rows[: PROBLEMS - len(self.problems)]:
            line = None if bad.line is None else bad.line + lines
            self.problems.append(self._bad(bad.number + within, line, bad.offset, bad.fault))
        if found.first is not None and len(self._marks) < _MARKS:
            self._marks.append((found.first.number + within, found.first.line + lines, found.first.offset))
        for name, count in found.columns.items():
            if name in self.columns or len(self.columns) < COLUMNS:
                self.columns[name] += count
        self.rows, self.bad, self.bytes = self.rows + found.rows, self.bad + found.bad, self.bytes + part.taken
        self._lines += found.lines

    def _lines_before(self) -> int:
        """How many lines lie before the rows of the file that is at its turn."""
        file = self.files_of_rows[len(self.files)]
        return file.layout.start.line - 1 if isinstance(file, TextFile) else 0

    def _bad(self, within: int, line: int | None, offset: int | None, fault: Fault) -> BadRow:
        name = self.files_of_rows[len(self.files)].name
        where = f"{name}:{line}" if line is not None else f"{name} row {within}"
        moved = Problem(fault.what, where, fault.why, fault.remedy)
        return BadRow(self._begun + within, line, offset, moved)

    def news(self) -> list[FileScan]:
        """What was not reported yet of the file that is at its turn, behind the files that have come to their end."""
        ended, marks = self.files[self.told_files :], self._marks[self._told_marks :]
        self.told_files, self._told_marks = len(self.files), len(self._marks)
        return [*ended, FileScan(self.rows - self._begun, tuple(marks))]

    def end_of_file(self) -> None:
        """All parts of a file are added."""
        self.files.append(FileScan(self.rows - self._begun, tuple(self._marks)))
        self._begun, self._lines, self._marks, self._told_marks = self.rows, 0, [], 0


Send = Callable[[_Sum], None]


def scan_all(file: RowFile, send: Send) -> Scan:
    """Parse every row. `send` gets the sum so far. FtError when the files change meanwhile."""
    before, size = identity_of(file), file.size
    total = _Sum(file)
    for seen in look_in_parts(file, _scanned, sys.maxsize):
        while len(total.files) < seen.place:
            total.end_of_file()
        total.add(seen.part, seen.found)
        send(total)
    while len(total.files) < len(total.files_of_rows):
        total.end_of_file()
    if identity_of(file) != before:
        raise problem(
            "the rows changed while they were read",
            where=file.name,
            why="another program writes to the file",
            remedy="wait until it is complete, then open it again",
        )
    return Scan(total.rows, total.bad, tuple(total.problems), dict(total.columns), size, before, tuple(total.files))


def _scanned(part: Part) -> Found:
    return part.scan().finish()


def _sender(size: int) -> Send:
    last = 0.0

    def send(total: _Sum) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TOLD_SECONDS:
            last = now
            progress = Progress(min(total.bytes, size), size, total.rows, total.bad)
            before = total.told_files
            say({"progress": asdict(progress), "from": before, "files": [asdict(one) for one in total.news()]})

    return send


def main() -> None:
    """Scan the source the arguments name."""
    source, which = sys.argv[1:3]
    try:
        file = open_rows(source, held_out=which == "held-out")
        say({"done": to_json(scan_all(file, _sender(file.size)))})
    except FtError as error:
        say(failure(error))
    except BrokenPipeError:
        # Whoever asked is gone, and nobody is left to hear of it.
        sys.exit(0)
    except OSError as error:
        say(failure(unreadable(file.path, error)))


if __name__ == "__main__":
    main()
