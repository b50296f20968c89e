"""Marks in a text that nobody meant to be trained: those of chat templates, and placeholders never filled in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

CODE: Final = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`", re.DOTALL)
_MARK: Final = (
    r"<\|[A-Za-z_][A-Za-z0-9_ ]{1,30}\|?>|\[/?INST\]|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]"
    r"|<</?SYS>>|<(?:start|end)_of_turn>|<end_of_utterance>|<(?:bos|eos)>|<\uff5c[^<>\n]{1,30}\uff5c>"
    r"|^### (?:Instruction|Response|Human|Assistant):"
)
_TEMPLATE: Final = re.compile(_MARK, re.MULTILINE)
_BEGINS: Final = re.compile(rf"\s*(?:{_MARK}|<s>|</s>)", re.MULTILINE)
_LAST_MARK: Final = re.compile(rf"(?:{_MARK}|<s>|</s>)\s*\Z", re.MULTILINE)
# `<s>` strikes text out in HTML: it is a mark where it stands at an edge, and alone.
_SENTENCE: Final = re.compile(r"\A\s*<s>|</s>\s*\Z|</s>\s*<s>")
_LONGEST_MARK: Final = 200
_FILL: Final = re.compile(
    r"\[(?:INSERT|YOUR|ENTER|ADD|TODO|PLACEHOLDER|TBD)\b[^\]\n]{0,60}\](?!\()"
    r"|\[(?:[Ii]nsert|[Yy]our|[Ee]nter|[Aa]dd) [^\]\n]{1,40} here\](?!\()"
    r"|(?<![#/*;\"'-] )(?<![#/*;\w\"'-])TODO(?:\s*:|\s*\Z|(?=\s+[a-z]+ (?:this|the|here)\b))"
    r"|<(?:your|insert) [^<>\n]{1,40}>|<(?:your|insert)[_-](?:name|text|answer|company)(?:[_-]here)?>"
    r"|\b[Ll]orem ipsum\b"
)
_BRACES: Final = re.compile(r"(?<![\w}$\\^_{])\{\{\s*[A-Za-z_][\w .]{0,40}\}\}(?!\})")
_FILL_SIGNS: Final = re.compile(r"TODO|orem ipsum|\[[IYEATPiyea]|<your|<insert")
# Words of a row that is about what else would be a placeholder left by mistake.
_ABOUT: Final = re.compile(r"template|placeholder|fill in|boilerplate", re.IGNORECASE)
_ABOUT_BRACES: Final = re.compile(
    r"template|placeholder|variable|jinja|handlebars|mustache|liquid|angular|\bvue|helm|ansible|django|twig|f-string|\{%"
    r"|<div|interpolat|latex|cookiecutter",
    re.IGNORECASE,
)
_ABOUT_TODO: Final = re.compile(r"to-?do\b", re.IGNORECASE)
_ABOUT_LOREM: Final = re.compile(r"lorem|dummy text|placeholder|filler", re.IGNORECASE)


def template_mark(text: str) -> re.Match[str] | None:
    """The first mark of a chat template in a text; in code too, since tokenizers take it for what it says."""
    found = _TEMPLATE.search(text)
    if found is None and "s>" in text:
        found = _SENTENCE.search(text)
        if found is not None and text.count("<s>") == text.count("</s>") and "</s>\n<s>" not in text:
            return None
    return found


def without_marks(text: str) -> str:
    """The text without marks of chat templates at its ends, and stripped."""
    plain = text.strip()
    while plain:
        begins = _BEGINS.match(plain)
        ends = _LAST_MARK.search(plain, max(len(plain) - _LONGEST_MARK, 0))
        if begins is not None:
            plain = plain[begins.end() :].strip()
        elif ends is not None:
            plain = plain[: ends.start()].strip()
        else:
            break
    return plain


def placeholder(text: str, role: str, others: Callable[[], str]) -> re.Match[str] | None:
    """The first placeholder outside code; None where the row is about placeholders. `others`: the row's other texts.

    Raw text is full of code without fences: there double braces and TODO are not reported.
    """
    braces = "{{" in text and role != "text"
    if not braces and not _FILL_SIGNS.search(text):
        return None
    prose = CODE.sub("", text) if "`" in text or "~~~" in text else text
    found = _BRACES.search(prose) if braces else None
    if found is not None and not _ABOUT_BRACES.search(f"{_without(prose, found)}\n{others()}"):
        return found
    for found in _FILL.finditer(prose):
        if not _is_meant(prose, found, role, others):
            return found
    return None


def _is_meant(prose: str, found: re.Match[str], role: str, others: Callable[[], str]) -> bool:
    words = found.group()
    if words.startswith("TODO"):
        return role == "text" or _ABOUT_TODO.search(others()) is not None
    if words.casefold() == "lorem ipsum":
        return _ABOUT_LOREM.search(f"{_without(prose, found)}\n{others()}") is not None
    return _ABOUT.search(others()) is not None


def _without(text: str, found: re.Match[str]) -> str:
    return text[: found.start()] + text[found.end() :]
