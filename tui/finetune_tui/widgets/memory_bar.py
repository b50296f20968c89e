"""What a run needs in memory, part by part, against what the device has."""

from __future__ import annotations

from typing import Final

from finetune_core.plan.advice.margin import tight
from finetune_core.plan.memory.estimate import MemoryEstimate
from finetune_core.text import memory_text
from finetune_tui.run_words import ascii_only
from finetune_tui.widgets.cells import Line, Span, line_width
from finetune_tui.widgets.flow_cells import FlowCells

# Each part has a texture and a letter of its own, so that it is distinct without colours.
_LOOKS: Final = {
    "weights": ("█", "w", "series-1"),
    "adapter": ("▓", "a", "series-2"),
    "gradients": ("▒", "g", "series-3"),
    "optimiser": ("▚", "o", "warn"),
    "activations": ("▞", "c", "series-4"),
    "reserve": ("░", "r", "dim"),
}
_OTHER: Final = ("▤", "x", "accent")


class MemoryBar(FlowCells):
    """A bar of the parts on the scale of the device, a legend with figures, and one line of verdict."""

    def show_need(
        self,
        need: MemoryEstimate | None,
        device: str,
        total: int,
        free: int,
        unknown: str,
        *,
        brief: bool = False,
        basis: str = "",
    ) -> None:
        """`device` in words, its memory in bytes; `unknown` says why there is no estimate. `brief` has no legend.

        `basis` says what the estimate is for, where that is not the rows at hand.
        """

        def draw(width: int, _height: int) -> list[Line]:
            if need is None:
                return _wrap_spans([(f"{word} ", "dim") for word in unknown.split()], width)
            if brief:
                return [_bar(need, max(need.total, total, 1), total, width), *_brief(need, free, width)]
            lines = bar_lines(need, device, total, free, width)
            return [*lines, *_wrap_spans([(f"{word} ", "dim") for word in basis.split()], width)]

        self.show(draw)


def bar_lines(estimate: MemoryEstimate, device: str, total: int, free: int, width: int) -> list[Line]:
    """The bar, its legend and the verdict as lines of at most `width` cells."""
    scale = max(estimate.total, total, 1)
    legend: list[Span] = []
    for name, size in estimate.parts.items():
        if size > 0:
            legend += [(sign(name), look(name)), (f" {name} {memory_text(size)}   ", "")]
    return [
        _bar(estimate, scale, total, width),
        *_wrap_pairs(legend, width),
        *_verdict(estimate, device, total, free, width),
    ]


def look(part: str) -> str:
    """The style of a part."""
    return _LOOKS.get(part, _OTHER)[2]


def sign(part: str) -> str:
    """The texture or letter of a part."""
    picture, letter, _ = _LOOKS.get(part, _OTHER)
    return letter if ascii_only() else picture


def _bar(estimate: MemoryEstimate, scale: int, total: int, width: int) -> Line:
    spans: list[Span] = []
    used = summed = 0
    for name, size in estimate.parts.items():
        summed += max(size, 0)
        end = min(round(summed / scale * width), width)
        spans.append((sign(name) * (end - used), look(name)))
        used = max(used, end)
    rest = width - used
    spans.append((("." if ascii_only() else "·") * rest, "faint"))
    edge = round(total / scale * width)
    return _with_edge(spans, edge) if 0 < edge < width else tuple(spans)


def _with_edge(spans: list[Span], edge: int) -> Line:
    """Mark in the bar where the device's memory ends."""
    found: list[Span] = []
    at = 0
    for text, style in spans:
        inside = edge - at
        if 0 <= inside < len(text):
            found += [(text[:inside], style), ("|", "bad"), (text[inside + 1 :], style)]
        else:
            found.append((text, style))
        at += len(text)
    return tuple(found)


def _verdict(estimate: MemoryEstimate, device: str, total: int, free: int, width: int) -> list[Line]:
    need = estimate.total
    words = (
        f"needs {_about(estimate)} {memory_text(need)} of {memory_text(total)} on {device}, {memory_text(free)} free"
    )
    if need > total > 0:
        state, style = f"does not fit: {memory_text(need - total)} too much", "bad"
    elif need > free:
        state, style = f"would fit, but others use it now: {memory_text(need - free)} are missing", "warn"
    else:
        state, style = _fits(need, free)
    spans = [(word + " ", "") for word in f"{words}:".split()] + [(word + " ", style) for word in state.split()]
    return _wrap_spans(spans, width)


def _fits(need: int, free: int) -> Span:
    left = f"{memory_text(free - need)} to spare"
    return (f"tight, {left}", "warn") if tight(need, free) else (f"fits, {left}", "good")


def _about(estimate: MemoryEstimate) -> str:
    return "roughly" if estimate.rough else "about"


def _brief(estimate: MemoryEstimate, free: int, width: int) -> list[Line]:
    """The verdict in a line, and in as many words as there is room for."""
    need = estimate.total
    fits = need <= free
    state: Span = _fits(need, free) if fits else (f"{memory_text(need - free)} too much", "bad")
    words: Line = ((f"needs {_about(estimate)} {memory_text(need)} of {memory_text(free)} free: ", ""), state)
    return [words if line_width(words) <= width else (state,)]


def _wrap_pairs(spans: list[Span], width: int) -> list[Line]:
    pairs = [(*spans[at : at + 2],) for at in range(0, len(spans), 2)]
    lines: list[Line] = []
    line: Line = ()
    for pair in pairs:
        if line and line_width(_ended((*line, *pair))) > width:
            lines.append(_ended(line))
            line = ()
        line = (*line, *pair)
    return [*lines, _ended(line)] if line else lines


def _ended(line: Line) -> Line:
    """The line without the gap that would have led to the next part: cut off, it would look like words left out."""
    *head, (text, style) = line
    return (*head, (text.rstrip(), style))


def _wrap_spans(spans: list[Span], width: int) -> list[Line]:
    lines: list[Line] = []
    line: Line = ()
    for span in spans:
        if line and line_width((*line, (span[0].rstrip(), ""))) > width:
            lines.append(line)
            line = ()
        line = (*line, span)
    return [*lines, line] if line else lines
