"""What is wrong with one text of a row, told from the text alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from ft_core.data.findings.personal import personal, secrets
from ft_core.data.rows import CanonicalRow, Passage, Preference, passages

_AROUND: Final = 30
_CODE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_PLACEHOLDER: Final = re.compile(
    r"\{\{\s*[A-Za-z_][\w .]{0,40}\}\}|\[(?:INSERT|YOUR|ENTER|ADD|TODO|PLACEHOLDER|TBD)\b[^\]\n]{0,60}\]"
    r"|\bTODO\b(?:\s*:|\s*$|(?=\s+[a-z]+ (?:this|the|here)))|<(?:your|insert)[ _-][^>\n]{1,40}>|\b[Ll]orem ipsum\b"
)
_TEMPLATE: Final = re.compile(
    r"<\|(?:im_start|im_end|im_sep|eot_id|eom_id|begin_of_text|end_of_text|start_header_id|end_header_id|endoftext|user"
    r"|assistant|system|end|start|channel|message|return|call|turn)\|?>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|^<s>|</s>\s*$|<\uff5c[^<>\n]{1,30}\uff5c>|^### (?:Instruction|Response|Human|Assistant):",
    re.MULTILINE,
)
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# Flags of countries within countries are a black flag and letters of that invisible kind.
_FLAG: Final = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")
_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_REFUSAL: Final = re.compile(
    r"\bas an? (?:ai|artificial intelligence)(?: language)?(?: model| assistant)?\b(?=,| i\b)"
    r"|\bi'?m (?:just |only )?an ai\b"
    r"|^\s*(?:i'?m sorry|i am sorry|sorry|i apologi[sz]e),? (?:but )?"
    r"i(?: can(?:no|')t|'m not able| am not able|'m unable| am unable| won't)"
    r"|^\s*i can(?:no|')t (?:assist|help|comply|fulfil|provide|do that)",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCES: Final = re.compile(r"[.!?]\s+[A-Z]")
_LIST_LINE: Final = re.compile(r"^\s*(?:[-*•+#|>]|\d+[.)]|[A-Za-z][.)])\s?|^\s{4,}|^[^.!?]{0,60}:\s|\w+\(|[{};=<]|://")
_CUT_FROM: Final = 120


class Hit(NamedTuple):
    """One finding in one row: its kind, the field, and what is shown of it."""

    kind: str
    field: str
    excerpt: str


def row_hits(row: CanonicalRow) -> Iterator[Hit]:
    """Everything that is wrong with the texts of one row, each kind at most once for each text."""
    last = ""
    for part in passages(row):
        yield from _hits(part, ends_row=part.learnt)
        last = part.field
    if isinstance(row, Preference) and row.chosen == row.rejected:
        yield Hit("equal-sides", last, row.chosen[0].content if row.chosen else "")


def _hits(part: Passage, *, ends_row: bool) -> Iterator[Hit]:
    text = part.text
    if not text.strip():
        if part.role != "assistant":
            yield Hit("empty-turn", part.field, "(nothing)")
        return
    yield from _marks(part)
    if not text.isascii():
        yield from _odd_characters(part)
    elif _INVISIBLE.search(text):
        yield _hit("invisible-characters", part, _INVISIBLE)
    for masked in secrets(text):
        yield Hit("secret", part.field, masked)
        break
    for masked in personal(text):
        yield Hit("personal-data", part.field, masked)
        break
    if ends_row:
        yield from _answer_hits(part)


def _marks(part: Passage) -> Iterator[Hit]:
    text = part.text
    if ("<" in text or "[" in text or "###" in text) and _TEMPLATE.search(text):
        yield _hit("template-tokens", part, _TEMPLATE)
    if any(sign in text for sign in ("{{", "[", "TODO", "<", "orem ipsum")):
        prose = _CODE.sub("", text) if "`" in text else text
        found = _PLACEHOLDER.search(prose)
        if found:
            yield Hit("placeholder", part.field, _around(prose, found))


def _odd_characters(part: Passage) -> Iterator[Hit]:
    text = part.text
    if "\U0001f3f4" in text:
        part = part._replace(text=_FLAG.sub("", text))
    if _INVISIBLE.search(part.text):
        yield _hit("invisible-characters", part, _INVISIBLE)
    if _BIDI.search(text):
        yield _hit("bidi-override", part, _BIDI)
    from ftfy.badness import badness

    # One odd pair of letters can be meant; garbled text has them all over.
    if "\ufffd" in text or badness(text) > 1 + len(text) // 2000:
        yield Hit("mojibake", part.field, text[:120])


def _answer_hits(part: Passage) -> Iterator[Hit]:
    found = _REFUSAL.search(part.text[:600])
    if found:
        yield Hit("refusal", part.field, _around(part.text, found))
    if is_cut(part.text):
        yield Hit("cut-answer", part.field, f"… {part.text.rstrip()[-100:]}")


def is_cut(text: str) -> bool:
    """Whether prose stops in mid-sentence, or a block of code is never closed. Short texts and lists never count."""
    if text.count("```") % 2:
        return True
    last = text.rstrip().rsplit("\n", 1)[-1]
    # Sentences end with a sign; scripts without small letters are not judged.
    if len(text) < _CUT_FROM or not last[-1:].islower() or not _SENTENCES.search(text):
        return False
    return len(last.split()) >= 6 and not _LIST_LINE.search(last)


def _hit(kind: str, part: Passage, pattern: re.Pattern[str]) -> Hit:
    found = pattern.search(part.text)
    assert found is not None
    return Hit(kind, part.field, _around(part.text, found))


def _around(text: str, found: re.Match[str]) -> str:
    return text[max(found.start() - _AROUND, 0) : found.end() + _AROUND]


def trimmed(text: str) -> str:
    """The text without invisible and direction characters, without template marks at its ends, and stripped."""
    plain = _BIDI.sub("", text if _FLAG.search(text) else _INVISIBLE.sub("", text)).strip()
    while plain:
        begin, end = _TEMPLATE.match(plain), _ending_mark(plain)
        if begin is not None and begin.end():
            plain = plain[begin.end() :].strip()
        elif end is not None:
            plain = plain[:end].strip()
        else:
            break
    return plain


def _ending_mark(text: str) -> int | None:
    """Where a template mark that ends the text begins."""
    return next((found.start() for found in _TEMPLATE.finditer(text) if not text[found.end() :].strip()), None)
