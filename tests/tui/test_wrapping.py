"""Texts are measured and wrapped as Textual does it, only quicker."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.content import Content
from textual.style import Style
from textual.visual import RenderOptions

from finetune_tui.patches import wrapping

_TEXTS = st.lists(
    st.text(st.sampled_from("ab  -äß漢字🙂e\u0301\u200b\t"), max_size=30) | st.just("plain words of a line"), max_size=6
).map("\n".join)


def _lines(content: Content, wrap: Any, width: int, align: Any, overflow: Any) -> list[tuple[object, ...]]:
    found = wrap(content, width, align, overflow)
    return [(one.content.plain, one.content.spans, one.width, one.x, one.y, one.align, one.line_end) for one in found]


@settings(max_examples=400, deadline=None)
@given(
    text=_TEXTS,
    width=st.integers(1, 40),
    align=st.sampled_from(["left", "center", "right", "justify"]),
    overflow=st.sampled_from(["fold", "ellipsis", "clip"]),
    bold=st.booleans(),
)
def test_lines_and_heights_are_those_of_textual(text: str, width: int, align: str, overflow: str, bold: bool) -> None:
    content = Content(text).stylize("bold", 1, 9) if bold else Content(text)
    ours = _lines(content, wrapping._quick_wrap, width, align, overflow)
    assert ours == _lines(content, wrapping._wrap, width, align, overflow)
    rules: Any = {"text_overflow": overflow}
    assert wrapping._quick_height(Content(text), rules, width) == wrapping._height(Content(text), rules, width)


@pytest.mark.parametrize("rules", [{"line_pad": 1}, {"text_wrap": "nowrap"}, {}])
def test_a_padded_or_unwrapped_text_is_left_to_textual(rules: Any) -> None:
    text = "some words that are longer than the line\nand a short one"
    for content in (Content(text), Content("")):
        assert wrapping._quick_height(content, rules, 12) == wrapping._height(Content(content.plain), rules, 12)


def test_a_drawn_text_is_the_same() -> None:
    content = Content("a line\n\nand one of many words, which goes on")
    options = RenderOptions(lambda one: one if isinstance(one, Style) else Style.parse(one), {})
    before = [strip.text for strip in content.render_strips(10, None, Style(), options)]
    wrapping.install()
    assert [strip.text for strip in content.render_strips(10, None, Style(), options)] == before
