"""Text for people: hostile characters made visible, long things shortened, figures with their units."""

from __future__ import annotations

import math
import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")
_COUNT_UNITS = ("", "k", "M", "B", "T")


def clean(text: str) -> str:
    """`text` with control, bidi and lone surrogate characters replaced by visible ones; tab and newline stay.

    Rows, model answers, file names and log lines are hostile: an escape sequence in them would be obeyed by
    the terminal. C0 controls become their Unicode control pictures, everything else U+FFFD.
    """
    return _UNSAFE.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def one_line(text: str, limit: int) -> str:
    """Cleaned text on one line of at most `limit` characters, an ellipsis where it was cut."""
    flat = " ".join(clean(text[: limit * 4]).split())
    return flat if len(flat) <= limit else flat[: max(limit - 1, 0)] + "…"


def bytes_text(count: float) -> str:
    """Bytes in decimal units as disks and model cards give them: 1500000 -> `1.5 MB`."""
    return _scaled(count, _BYTE_UNITS, space=" ")


def memory_text(count: float) -> str:
    """Bytes in binary gibibytes as GPUs give them: 25769803776 -> `24.0 GiB`; small ones in MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def count_text(count: float) -> str:
    """A count in short form, with B for billions as model cards have it: 8030261248 -> `8.03B`, 1200 -> `1.2k`."""
    return _scaled(count, _COUNT_UNITS, space="")


def plural(count: float, one: str, many: str = "") -> str:
    """The noun for this many of a thing: `row` for 1, else `rows` or the `many` that is given."""
    return one if count == 1 else many or f"{one}s"


def counted(count: int, one: str, many: str = "") -> str:
    """A whole number with its noun: `1 row`, `15 rows`."""
    return f"{count} {plural(count, one, many)}"


def _scaled(value: float, units: tuple[str, ...], *, space: str) -> str:
    power = 0
    # What would be rounded up to a thousand is one of the next unit.
    while abs(value) >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    number = f"{value:.3g}" if power and abs(value) < 1000 else f"{value:.0f}"
    return f"{number}{space if units[power] else ''}{units[power]}"


def duration_text(seconds: float) -> str:
    """Seconds as a person says them: `48 s`, `12 min 05 s`, `3 h 20 min`, `2 d 4 h`; `? s` for what is no number."""
    if not math.isfinite(seconds):
        return "? s"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def reading_seconds(text: str) -> float:
    """How long a message is to stay: 6 seconds to notice it, then a second for each 15 letters."""
    return 6.0 + len(text) / 15
