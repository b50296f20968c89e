"""States of a run as spans of cells."""

from __future__ import annotations

from finetune_tui.run_words import state_style, state_words
from finetune_tui.widgets.cells import Span


def state_span(state: str) -> Span:
    """The state's glyph and word in its style."""
    return state_words(state), state_style(state)
