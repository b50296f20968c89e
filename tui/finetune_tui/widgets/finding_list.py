"""What is wrong with rows, kind by kind, and what is done about each: one key goes through the possible fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from finetune_core.data.checks.findings.kinds import KINDS, Kind
from finetune_core.data.checks.findings.report import Finding
from finetune_core.text import clean, count_text, one_line, plural
from finetune_tui.run_words import glyph
from finetune_tui.widgets.paging import PageKeysPass

_EXAMPLES: Final = 2
_STYLES: Final = {"error": "$text-error", "warning": "$text-warning", "note": "$text-muted"}
_DONE: Final = {"drop": "left out", "trim": "trimmed", "merge": "merged", "keep": "kept"}


class FindingList(PageKeysPass, OptionList):
    """A line for each kind of finding with its first rows. Enter goes to the next thing that can be done about it."""

    DEFAULT_CSS = """
    FindingList { height: auto; max-height: 12; border: none; padding: 0; background: $surface; }
    FindingList { text-wrap: nowrap; text-overflow: ellipsis; }
    FindingList:focus { border: none; }
    """

    @dataclass
    class Fixed(Message):
        """Something else is to be done about a kind of finding: `drop`, `trim`, `merge`, or nothing (empty)."""

        kind: str
        action: str

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, markup=False)
        self._shown: tuple[tuple[str, str], ...] = ()
        self._fixes: Mapping[str, str] = {}

    def show(self, findings: Sequence[Finding], fixes: Mapping[str, str]) -> None:
        """Show these findings, and what is done about them; kinds that a fix has done away with stay in the list."""
        self._fixes = fixes
        gone = [KINDS[name] for name in fixes if name in KINDS and name not in {one.kind.name for one in findings}]
        lines = [*((one.kind, _words(one, fixes)) for one in findings), *((kind, _gone(kind, fixes)) for kind in gone)]
        shown = tuple((kind.name, words.plain) for kind, words in lines)
        if shown != self._shown:
            place = self.highlighted
            kind_there = self._shown[place][0] if place is not None else ""
            self._shown = shown
            self.clear_options()
            self.add_options([Option(words, id=kind.name) for kind, words in lines])
            self.highlighted = _stands_on([kind.name for kind, _ in lines], kind_there, place)
        self.display = bool(lines)

    def on_focus(self) -> None:
        """Stand on the first finding, so that Enter has one to act on."""
        if self.highlighted is None and self.option_count:
            self.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """The next action of the kind, or none again."""
        event.stop()
        kind = KINDS[str(event.option.id)]
        ways = _ways(kind)
        if len(ways) > 1:
            present = self._fixes.get(kind.name, "")
            place = ways.index(present) if present in ways else 0
            self.post_message(self.Fixed(kind.name, ways[(place + 1) % len(ways)]))


def _stands_on(names: Sequence[str], name: str, place: int | None) -> int | None:
    """Where a kind is now; the line it was on, where it is gone."""
    if name in names:
        return names.index(name)
    return min(place, len(names) - 1) if place is not None and names else None


def _ways(kind: Kind) -> tuple[str, ...]:
    """What can be done: nothing first; rows with an error are left out anyway, and keeping is doing nothing."""
    usual = {"keep", "drop"} if kind.severity == "error" else {"keep"}
    return ("", *(fix for fix in kind.fixes if fix not in usual))


def _words(found: Finding, fixes: Mapping[str, str]) -> Content:
    kind = found.kind
    rows = f"{count_text(found.count)} {plural(found.count, 'row')}: " if found.of_rows else ""
    mark = glyph("·", "-") if kind.severity == "note" else "!"
    head = f"{mark} {kind.name}  {rows}{found.words or kind.words}"
    parts: list[str | tuple[str, str]] = [(clean(head), _STYLES[kind.severity]), _choice(kind, fixes)]
    for example in found.examples[:_EXAMPLES]:
        place = f" {example.field}" if example.field else ""
        parts.append((f"\n    row {example.row}{place}: {one_line(example.excerpt, 150)}", "dim"))
    return Content.assemble(*parts)


def _gone(kind: Kind, fixes: Mapping[str, str]) -> Content:
    return Content.assemble((f"{glyph('✓', '+')} {kind.name}", "$text-success"), _choice(kind, fixes))


def _choice(kind: Kind, fixes: Mapping[str, str]) -> str:
    ways = _ways(kind)
    action = fixes.get(kind.name, "")
    if action:
        return f"  [{_DONE.get(action, action)}]"
    return f"  [Enter: {ways[1]}]" if len(ways) > 1 else ""
