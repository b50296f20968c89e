"""The rows of a data file in words: what is wrong with them, and how long they are."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from finetune_core.data.checks.check import DataReport
from finetune_core.data.tokens.client import Lengths, Preview
from finetune_core.data.tokens.gate_report import GateReport
from finetune_core.errors import Problem
from finetune_core.text import clean, counted, one_line


def checked_words(report: DataReport | None, progress: str = "") -> Content:
    """How many rows can be used; before they were all looked at, how far that is."""
    if report is None:
        return Content(progress)
    rows = f"{counted(report.rows, 'row')}"
    if report.errors:
        words = f"! {report.errors} of {rows} cannot be used and will be left out:"
        return Content(words).stylize("$text-warning")
    found = sum(1 for finding in report.findings if finding.of_rows)
    usable = "The one row" if report.rows == 1 else f"All {rows}"
    words = f"{usable} can be used; look at these:" if found else f"No problem found in {rows}."
    return Content(words).stylize("dim")


def token_words(preview: Preview) -> str:
    """Tokens of a row, how many are trained on, and how many are cut."""
    words = f"{counted(preview.tokens, 'token')}, {preview.trained} trained"
    if not preview.cut:
        return words
    return f"{words}, {'the last one is' if preview.cut == 1 else f'the last {preview.cut} are'} cut"


def length_words(lengths: Lengths, limit: int | None) -> Content:
    """The lengths of all rows in one or two sentences."""
    counts = sorted(lengths.counts)
    if not counts:
        return Content()
    middle = counts[len(counts) // 2]
    whose = f"of a sample of {counted(len(counts), 'row')}" if lengths.sampled else "a row"
    words = f"Tokens {whose}: {middle} at the median, {counts[-1]} at most. "
    cut = sum(count > limit for count in counts) if limit is not None else 0
    parts: list[str | tuple[str, str]] = [words]
    if limit is not None:
        whole = f"No row is longer than max length {limit}."
        parts.append(
            (f"! {counted(cut, 'row is', 'rows are')} cut at max length {limit}. ", "$text-warning") if cut else whole
        )
    if lengths.without_trained:
        without = lengths.without_trained
        parts.append((f" ! {counted(without, 'row has', 'rows have')} no trained token.", "$text-error"))
    return Content.assemble(*parts)


def gate_words(report: GateReport | None) -> Content:
    """What the template gate says: one line when all is well, else each question that rows fail."""
    if report is None or not report.rows:
        return Content()
    failing = [check for check in report.checks if not check.ok]
    if not failing:
        return Content("Template gate passed: exactly the answers are trained, each with its end.").stylize("dim")
    lines = []
    for check in failing:
        rows = f"{check.rows} of {counted(report.rows, 'row')}"
        first = f"; row {check.examples[0][0]}: {one_line(check.examples[0][1], 80)}" if check.examples else ""
        lines.append(f"! Not so in {rows}: {check.words}{first}")
        raised = report.raising_words() if check.name == "end-kept" else ""
        lines.append(f"  {check.remedy}{': ' if raised else ''}{raised}")
    style = "$text-warning" if report.passed else "$text-error"
    return Content(clean("\n".join(lines))).stylize(style)


def gate_question(problems: Sequence[Problem]) -> str:
    """What is asked before a run is started that the template gate speaks against."""
    said = "\n".join(f"! {one.what.partition(': ')[2] or one.what}: {one.why}" for one in problems)
    words = (
        f"What it would learn is not what the rows say:\n{said}\n\n"
        "A run like this often trains fine and then outputs garbage. Launched all the same, data.template_gate is set "
        "to override, and the run records it."
    )
    return clean(words)
