"""The rows of a data file in words: what is wrong with them, and how long they are."""

from __future__ import annotations

from typing import Final

from textual.content import Content

from ft_core.data.tokens import Lengths, Preview
from ft_core.text import clean, one_line
from ft_tui.wizard.row_facts import Checked

PROBLEMS_SHOWN: Final = 8


def checked_words(checked: Checked | None) -> Content:
    """What is wrong with which rows; empty before they were looked at."""
    if checked is None:
        return Content()
    if not checked.bad:
        return Content(f"No problem found in {checked.rows} rows.").stylize("dim")
    lines = [f"! {checked.bad} of {checked.rows} rows cannot be used and will be left out:"]
    lines += [f"  {one_line(f'{one.where}: {one.what} - {one.why}', 200)}" for one in checked.problems[:PROBLEMS_SHOWN]]
    if checked.bad > PROBLEMS_SHOWN:
        lines.append(f"  and {checked.bad - PROBLEMS_SHOWN} more")
    return Content(clean("\n".join(lines))).stylize("$text-warning")


def token_words(preview: Preview) -> str:
    """Tokens of a row, how many are trained on, and how many are cut."""
    words = f"{preview.tokens} tokens, {preview.trained} learnt"
    return f"{words}, the last {preview.cut} are cut" if preview.cut else words


def length_words(lengths: Lengths, limit: int | None) -> Content:
    """The lengths of all rows in one or two sentences."""
    counts = sorted(lengths.counts)
    if not counts:
        return Content()
    middle = counts[len(counts) // 2]
    whose = f"of a sample of {len(counts)} rows" if lengths.sampled else "a row"
    words = f"Tokens {whose}: {middle} at the median, {counts[-1]} at most. "
    cut = sum(count > limit for count in counts) if limit is not None else 0
    parts: list[str | tuple[str, str]] = [words]
    if limit is not None:
        whole = f"No row is longer than max length {limit}."
        parts.append((f"! {cut} rows are cut at max length {limit}. ", "$text-warning") if cut else whole)
    if lengths.without_trained:
        parts.append((f" ! {lengths.without_trained} rows have no trained token.", "$text-error"))
    return Content.assemble(*parts)
