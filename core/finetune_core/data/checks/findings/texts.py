"""What is wrong with the texts of one row, found in the row alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from finetune_core.data.checks.findings.invisible import bidi_mark, garbled, invisible
from finetune_core.data.checks.findings.marks import CODE, placeholder, template_mark
from finetune_core.data.checks.findings.personal import masked_in, personal, secrets
from finetune_core.data.checks.findings.row_texts import CALL
from finetune_core.data.rows import CanonicalRow, Passage, Preference

_AROUND: Final = 30
_MEDIA: Final = re.compile(
    r"<(?:image|video|audio|image_pad|img_token)>|<img\s[^>]{0,300}\bsrc\s*="
    r"|!\[[^\]\n]{0,100}\]\(data:image|\bdata:image/[a-z+]{2,10};base64,[A-Za-z0-9+/]{40}"
)
_WEB: Final = re.compile(r"<(?:!doctype|html|body|div|head|p|a|ul|table|script|style)\b", re.IGNORECASE)
_SPEAKS: Final = (
    "help assist comply fulfil fulfill provide do answer continue engage create generate write discuss support process "
    "browse access see view offer give share produce participate complete perform advise recommend suggest say "
    "disclose reveal"
).replace(" ", "|")
_CANNOT: Final = (
    r"i(?: can(?:no|')?t|'m not able to| am not able to|'m unable to| am unable to| won't| will not be able to)"
)
_SORRY: Final = r"(?:(?:i'?m|i am) (?:very |really |so )?sorry|sorry|i apologi[sz]e|unfortunately|my apologies)"
_REFUSES: Final = re.compile(
    rf"\W*(?:{_SORRY},? (?:but )?{_CANNOT}(?: {{0,2}}(?:to )?(?:{_SPEAKS})\b|\W*\Z)"
    rf"|{_CANNOT} (?:assist|help (?:you )?with|help you|comply|fulfil|provide|access|browse|do that|answer that)\b)"
)
_OF_ITSELF: Final = re.compile(
    r"\bas an? (?:ai|artificial intelligence)(?: language)?(?: model| assistant)?,? (?:i\b|my\b|it is not|there)"
    r"|\bas a (?:large )?language model,? (?:i\b|my\b)"
    r"|\bi'?(?:m| am) (?:just |only )?an ai (?:language )?(?:model|assistant)\b"
    r"|\u4f5c\u4e3a(?:\u4e00\u4e2a|\u4e00\u4f4d)?(?:\u4eba\u5de5\u667a\u80fd|ai)(?:\u8bed\u8a00\u6a21\u578b|\u52a9\u624b|\u6a21\u578b)"
    r"|\bals ki-(?:sprachmodell|modell|assistent)|\ben tant que mod\u00e8le de langage|\bcomo modelo de lenguaje\b"
    r"|\b\u043a\u0430\u043a \u044f\u0437\u044b\u043a\u043e\u0432\u0430\u044f \u043c\u043e\u0434\u0435\u043b\u044c"
)
_OF_ITSELF_SIGNS: Final = (
    " ai", "artificial intelligence", "language model", "\u4f5c\u4e3a", "als ki-", "de langage", "de lenguaje",
    "\u044f\u0437\u044b\u043a\u043e\u0432\u0430\u044f",
)  # fmt: skip
_SENTENCES: Final = re.compile(r"[.!?]\s+[A-Z]")
_LIST_LINE: Final = re.compile(r"^\s*(?:[-*•+#|>]|\d+[.)]|[A-Za-z][.)])\s?|^\s{4,}|^[^.!?]{0,60}:\s|\w+\(|[{};=<]|://")
_CUT_FROM, _FEWEST_WORDS = 120, 5
_NEVER_LAST: Final = frozenset({"the", "a", "an", "and", "or", "because", "of", "your", "our", "their", "its", "every"})
_BEGINNING: Final = 600


class Hit(NamedTuple):
    """One finding in one row: its kind, the field, and what is shown of it, with nothing private in it."""

    kind: str
    field: str
    excerpt: str


def parts_hits(row: CanonicalRow, parts: Sequence[Passage]) -> Iterator[Hit]:
    """Everything that is wrong with the texts of one row (its `row_parts`), each kind at most once for each text."""
    for part in parts:
        yield from _hits(part, parts)
    if isinstance(row, Preference) and _equal(row):
        yield Hit("equal-sides", "rejected[0]", row.chosen[0].content if row.chosen else "")


def _equal(row: Preference) -> bool:
    first, second = ([(turn.role, turn.content.strip()) for turn in side] for side in (row.chosen, row.rejected))
    return first == second


def _hits(part: Passage, parts: Sequence[Passage]) -> Iterator[Hit]:
    text = part.text
    if not text.strip():
        if part.role in ("user", "system", "text"):
            yield Hit("empty-turn", part.field, "(nothing)")
        return
    private = [*secrets(text), *personal(text)]
    if private:
        # Nothing private stands in what other findings show.
        part = part._replace(text=masked_in(text, private))
        for kind in ("secret", "personal-data"):
            shown = ", ".join(one.shown for one in private[:20] if one.kind == kind)
            if shown:
                yield Hit(kind, part.field, shown)
    yield from _characters(part)
    if part.role == CALL:
        return
    yield from _marks(part, parts)
    if part.trained and part.role == "assistant":
        yield from _answer_hits(part)


def _marks(part: Passage, parts: Sequence[Passage]) -> Iterator[Hit]:
    text = part.text
    angle = "<" in text
    if angle or "[" in text or "###" in text:
        found = template_mark(text)
        if found:
            yield Hit("template-tokens", part.field, _around(text, found))
    if angle or "data:image" in text:
        found = _MEDIA.search(text)
        if found and _shows_media(text, found):
            yield Hit("media-tags", part.field, _around(text, found))
    found = placeholder(text, part.role, lambda: "\n".join(one.text for one in parts if one is not part))
    if found:
        yield Hit("placeholder", part.field, _around(found.string, found))


def _shows_media(text: str, found: re.Match[str]) -> bool:
    """Whether a tag stands for a picture: in code and web pages it is what the row is about."""
    if found.group().startswith("<img") and _WEB.search(text):
        return False
    if "`" not in text:
        return True
    return _MEDIA.search(CODE.sub("", text)) is not None


def _characters(part: Passage) -> Iterator[Hit]:
    text = part.text
    if text.isprintable() and text.isascii():
        return
    found = invisible(text)
    if found:
        yield Hit("invisible-characters", part.field, f"{_code(found.group())} in {_around(text, found)}")
    if text.isascii():
        return
    turned = bidi_mark(text)
    if turned:
        yield Hit("bidi-override", part.field, f"{_code(turned.group())} in {_around(text, turned)}")
    place = garbled(text)
    if place is not None:
        yield Hit("mojibake", part.field, text[max(place - _AROUND, 0) : place + 2 * _AROUND])


def _answer_hits(part: Passage) -> Iterator[Hit]:
    beginning = part.text[:_BEGINNING].lower().replace("\u2019", "'")
    found = _REFUSES.match(beginning)
    if found is None and any(sign in beginning for sign in _OF_ITSELF_SIGNS):
        found = _OF_ITSELF.search(beginning)
    if found:
        yield Hit("refusal", part.field, _around(part.text, found))
    if is_cut(part.text):
        yield Hit("cut-answer", part.field, f"… {part.text.rstrip()[-100:]}")


def is_cut(text: str) -> bool:
    """Whether prose stops in mid-sentence, or a block of code is never closed. Lists never count.

    In a text of a few words only a word that has to be followed by another one shows it.
    """
    if text.count("```") % 2:
        return True
    last = text.rstrip().rsplit("\n", 1)[-1][-2000:]
    # Scripts without small letters are not judged.
    if not (last[-1:].islower() or last[-1:] == ",") or _LIST_LINE.search(last):
        return False
    words = last.split()
    if len(words) >= _FEWEST_WORDS and last[0].isupper() and words[-1] in _NEVER_LAST:
        return True
    return len(text) >= _CUT_FROM and len(words) > _FEWEST_WORDS and _SENTENCES.search(text) is not None


def _code(found: str) -> str:
    return f"U+{ord(found[0]):04X}"


def _around(text: str, found: re.Match[str]) -> str:
    return text[max(found.start() - _AROUND, 0) : found.end() + _AROUND]
