"""Answers of base and tuned model beside each other, or below each other where it is narrow."""

from __future__ import annotations

from finetune_core.runs.view.run_view import SampleItem, SampleSet
from finetune_core.text import one_line
from finetune_tui.run_words import glyph
from finetune_tui.widgets.cells import Line, beside, fitted, spread, wrapped

_BESIDE_FROM = 68
_LABEL = 8
_ROOMY = 56
_SOURCES = {"held_out": "held-out rows", "prompts": "the recipe's prompts", "user": "asked by you"}


def samples_lines(found: SampleSet, place: int, count: int, width: int) -> list[Line]:
    """A set of answers; it is the `place`-th of `count` sets (from 1)."""
    source = _SOURCES.get(found.source, one_line(found.source, 30))
    pages = f"set {place} of {count}" if count > 1 else ""
    pages += "  [ ] pages" if pages and width >= _ROOMY else ""
    lines: list[Line] = [spread(((f"step {found.step}, {source}", "dim"),), ((pages, "dim"),), width)]
    for item in found.items:
        lines += [*_item(item, found.step, width), ()]
    return lines[:-1] if found.items else [*lines, (("no answers in this set", "dim"),)]


def _item(item: SampleItem, step: int, width: int) -> list[Line]:
    mark = f"{glyph('▸', '>')} "
    prompt = wrapped(item.prompt, width - 2, "strong")
    head: list[Line] = [((mark if not row else "  ", "accent"), *line) for row, line in enumerate(prompt)]
    answers = _beside(item, step, width) if width >= _BESIDE_FROM else _stacked(item, width)
    if item.reference is not None:
        answers += _labelled("row says", item.reference, width, "dim")
    return head + answers


def _beside(item: SampleItem, step: int, width: int) -> list[Line]:
    left = (width - 5) // 2
    right = width - 5 - left
    gap = (" │ " if glyph("│", "|") == "│" else " | ", "dim")
    base: list[Line] = [(("base", "dim"),), *wrapped(item.base or "-", left)]
    tuned: list[Line] = [((f"tuned, step {step}", "accent"),), *wrapped(item.current or "-", right)]
    return [(("  ", ""), *line) for line in beside(base, tuned, left, gap)]


def _stacked(item: SampleItem, width: int) -> list[Line]:
    base = _labelled("base", item.base or "-", width, "dim", text_style="")
    return base + _labelled("tuned", item.current or "-", width, "accent", text_style="")


def _labelled(label: str, text: str, width: int, style: str, text_style: str | None = None) -> list[Line]:
    """Wrapped text with a label in front of its first line."""
    lines = wrapped(text, max(width - _LABEL - 3, 8), style if text_style is None else text_style)
    return [
        (("  ", ""), *fitted(((label if not row else "", style),), _LABEL), (" ", ""), *line)
        for row, line in enumerate(lines)
    ]
