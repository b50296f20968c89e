"""Characters that are in a text and that nobody sees, turn its direction, or are letters decoded wrongly."""

from __future__ import annotations

import re
from typing import Final

# Flags of countries within countries are a black flag and letters of that invisible kind.
_FLAG: Final = "\U0001f3f4[\U000e0020-\U000e007e]{2,7}\U000e007f"
_BLANKLESS: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u00ad\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0001-\U000e007f\u180e]"
    # Scripts without blanks mark with it where words may be parted.
    f"|(?<![{_BLANKLESS}])\u200b"
    # Joiners belong between letters that change their form, and between emoji.
    "|(?<=[A-Za-z0-9])[\u200c\u200d]+(?=[A-Za-z0-9])"
    # One variation selector chooses a form; a row of them hides a message.
    "|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{3,}"
)
_FLAGS: Final = re.compile(_FLAG)
_FLAG_OR_INVISIBLE: Final = re.compile(f"({_FLAG})|{_INVISIBLE.pattern}")
_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_OVERRIDE: Final = re.compile("[\u202d\u202e]")
_RIGHT_TO_LEFT: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
# Whatever was decoded wrongly has at least one of these.
_MAY_BE_GARBLED: Final = re.compile("[\u0080-\u00ff\u0152-\u017e\u0192\u02c6\u02dc\u2013-\u2122\u0400-\u045f\ufffd]{2}")
_LOOKED_AT: Final = 20_000
_GARBLED_FROM, _GARBLED_PER = 5, 500


def invisible(text: str) -> re.Match[str] | None:
    """The first invisible or control character; soft hyphens too. Tab, line ends and form feed are none."""
    if "\U0001f3f4" in text:
        text = _FLAGS.sub(lambda found: "\u2691" * len(found.group()), text)
    return _INVISIBLE.search(text)


def bidi_mark(text: str) -> re.Match[str] | None:
    """The first character that turns the direction of writing; in right-to-left text only overrides count."""
    found = _BIDI.search(text)
    if found is None or not _RIGHT_TO_LEFT.search(text):
        return found
    return _OVERRIDE.search(text)


def garbled(text: str) -> int | None:
    """Where letters decoded wrongly begin, or None. Of a long text the first 20,000 characters are looked at."""
    found = _MAY_BE_GARBLED.search(text)
    if found is None:
        return None
    lost = text.find("\ufffd")
    if lost >= 0:
        return lost
    from ftfy import fix_encoding
    from ftfy.badness import badness, is_bad

    part = text[:_LOOKED_AT]
    if not is_bad(part):
        return None
    # A few odd letters in a row can be meant, unless decoding aright makes sense of them.
    bad, mended = badness(part), fix_encoding(part)
    if (mended != part and badness(mended) < bad) or bad > _GARBLED_FROM + len(part) // _GARBLED_PER:
        return found.start()
    return None


def without_invisible(text: str) -> str:
    """The text without invisible characters."""
    return _FLAG_OR_INVISIBLE.sub(lambda found: found.group(1) or "", text)


def without_bidi(text: str) -> str:
    """The text without characters that turn the direction of writing."""
    return _BIDI.sub("", text)
