"""A run in one line, in the words and glyphs of the home screen and of `ft-tui runs`."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from finetune_core.runs.directory import RunDir, list_runs
from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view.summary import Summary, summarise
from finetune_core.text import duration_text, one_line
from finetune_tui.run_words import glyph, state_words, verdict_looks

_STAMP: Final = re.compile(r"\d{4}(\d\d)(\d\d)-(\d\d)(\d\d)\d\d-")


@dataclass(frozen=True)
class RunRow:
    """A run as a list shows it."""

    run: RunDir
    summary: Summary

    @property
    def state(self) -> str:
        """Glyph and word of the state."""
        return state_words(self.summary.state)

    @property
    def busy(self) -> bool:
        """Whether a process works on it."""
        return self.summary.state in ACTIVE

    @property
    def progress(self) -> str:
        """Share and number of steps done; empty before the first."""
        known = self.summary
        if not known.total:
            return ""
        return f"{known.progress:4.0%} {known.step}/{known.total}"

    @property
    def loss(self) -> str:
        """The last loss."""
        return "" if self.summary.loss is None else f"{self.summary.loss:.4g}"

    @property
    def verdict(self) -> str:
        """Whether the result is better than the base: glyph and words; empty before that is known."""
        said = one_line(self.summary.verdict or "", 20)
        looks = verdict_looks(said)
        return f"{glyph(looks.picture, looks.plain)} {said}" if said else ""

    @property
    def model(self) -> str:
        """The model's id, or the last part of its path."""
        source = self.summary.model
        return one_line(source.rstrip("/").rpartition("/")[2] or source, 40)

    def title(self, width: int, mark: str = "") -> str:
        """Its name without the date, in at most `width` characters: what sets it apart, and the `mark`, stay whole."""
        known = self.summary
        ends = (known.apart, mark) if known.title.endswith(known.apart) else (mark,)
        end = one_line(" ".join(part for part in ends if part), max(width - 8, 0))
        base = known.title.removesuffix(known.apart).rstrip() if known.apart else known.title
        return f"{one_line(base, width - len(end) - 1)} {end}" if end else one_line(base, width)

    @property
    def minute(self) -> str:
        """When it was made, as its name says: `01-31 14:00`; empty for a name without a date."""
        found = _STAMP.match(self.run.name)
        return "{}-{} {}:{}".format(*found.groups()) if found else ""

    def age(self, now: float) -> str:
        """How long ago the run started, in one figure: `3 min`, `2 d`; before the first minute `now`."""
        if not self.summary.started:
            return ""
        figure, unit, *_ = duration_text(now - self.summary.started).split()
        return "now" if unit == "s" else f"{figure} {unit}"

    def matches(self, text: str) -> bool:
        """Whether name, state or model contain the text, in any case."""
        wanted = text.casefold()
        known = self.summary
        return any(wanted in part.casefold() for part in (known.name, known.title, known.state, known.model))

    def as_data(self) -> dict[str, Any]:
        """Plain values for JSON."""
        known = asdict(self.summary)
        return {"run": known.pop("name"), "directory": str(self.run.path), **known}


def read_rows() -> tuple[RunRow, ...]:
    """The lines of all runs, the newest first."""
    return tuple(RunRow(run, summarise(run)) for run in list_runs())


def when(seconds: float | None) -> str:
    """A unix time in the user's own time zone, to the minute; empty for none, and for one no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M") if seconds else ""
    except (OverflowError, ValueError, OSError):
        return ""


def now() -> float:
    """The present as unix seconds; tests put a fixed time here."""
    return time.time()
