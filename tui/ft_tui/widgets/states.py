"""States of a run as a person sees them: a picture and a word, never a colour alone."""

from __future__ import annotations

from typing import Final

from ft_tui.widgets.cells import Span, glyph, safe

# State: picture, ASCII stand-in, style.
_LOOKS: Final = {
    "created": ("○", "o", "dim"),
    "preparing": ("◔", "~", "accent"),
    "training": ("●", "*", "good"),
    "evaluating": ("◆", "?", "accent"),
    "saving": ("▼", "v", "accent"),
    "paused": ("‖", "=", "warn"),
    "done": ("✓", "+", "good"),
    "stopped": ("■", "#", "warn"),
    "failed": ("✗", "x", "bad"),
    "crashed": ("✗", "x", "bad"),
}


def state_text(state: str) -> str:
    """`● training`."""
    picture, plain, _ = _LOOKS.get(state, ("?", "?", ""))
    return f"{glyph(picture, plain)} {safe(state, 40)}"


def state_span(state: str) -> Span:
    """The state in its style."""
    return state_text(state), _LOOKS.get(state, ("", "", ""))[2]
