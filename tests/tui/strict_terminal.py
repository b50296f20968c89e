"""Reads what a program sends to a terminal, and tells everything in it that the program has no business to send."""

from __future__ import annotations

import re
import unicodedata

# What the app itself sends: colours, cursor places, its modes and the questions about them, the shape of the pointer.
_MODES = "(?:7|25|1000|1003|1004|1006|1015|1016|1049|2004|2026|2048)"
_OF_APP = re.compile(
    rf"\x1b\[[\d;]*m|\x1b\[\d+;\d+H|\x1b\[\?{_MODES}(?:[hl]|\$p)|\x1b\[>\d+u|\x1b\[<u"
    r"|\x1b\]22;(?:default|text|pointer)\x07"
)
# Its welcome and farewell: a command that only prints has none of them.
_LINE_ENDS = "\r\n"
_ANY_SEQUENCE = re.compile(r"(?:\x1b[\[\]P^_X]?|[\x90\x9b\x9d])[\x20-\x7e]{0,24}")
# Turn the order of text, or stand in it unseen. Not the joiners of scripts and of pictures, which text needs.
_UNSEEN = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")


def faults(sent: bytes, *, app: bool) -> list[str]:
    """What a terminal would obey, or not show, in these bytes, each with what stands around it.

    `app`: the program draws on the whole screen. One that only prints lines may send lines, and tabs between words.
    """
    try:
        text = sent.decode()
    except UnicodeDecodeError as error:
        return [f"no UTF-8: {sent[max(error.start - 20, 0) : error.end + 20]!r}"]
    if app:
        text = _OF_APP.sub("", text)
    found = [f"a sequence: {match.group()!r}" for match in _ANY_SEQUENCE.finditer(text)]
    allowed = _LINE_ENDS if app else _LINE_ENDS + "\t"
    for place, letter in enumerate(text):
        if not letter.isprintable() and letter not in allowed and _is_obeyed(letter):
            found.append(f"{unicodedata.name(letter, hex(ord(letter)))}: {text[max(place - 20, 0) : place + 20]!r}")
    return found


def _is_obeyed(letter: str) -> bool:
    return letter in _UNSEEN or unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cs")
