"""The words for a run that every view of it shares: states, measures, and how its result is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from finetune_core import demo
from finetune_core.recipe.schema import DEMO
from finetune_core.runs.journal import number
from finetune_core.runs.status import ACTIVE
from finetune_core.runs.view.run_view import RunView
from finetune_core.text import memory_text, one_line

_ASCII_VARIABLE: Final = "FT_TUI_ASCII"


def ascii_only() -> bool:
    """Whether only ASCII can be shown: asked for by FT_TUI_ASCII=1, or the locale is not UTF-8."""
    if os.environ.get(_ASCII_VARIABLE):
        return True
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    return "utf" not in encoding.lower()


def glyph(picture: str, plain: str) -> str:
    """A picture character, or its ASCII stand-in where only ASCII can be shown."""
    return plain if ascii_only() else picture


def measured_words(plan: Mapping[str, Any], probe: Mapping[str, Any]) -> str:
    """What the preflight measured, beside what was predicted: memory and speed."""
    on_gpu = number(probe.get("reserved")) is not None
    memory = _beside(
        number(probe.get("peak")), _found(plan, "memory", "peak_bytes" if on_gpu else "total"), memory_text
    )
    speed = _beside(number(probe.get("tokens_per_s")), _found(plan, "speed", "tokens_per_s", "mid"), "{:,.0f}".format)
    return f"measured on the longest batch: {memory} of memory, {speed} tokens/s"


def _beside(measured: float | None, predicted: float | None, words: Callable[[float], str]) -> str:
    shown = "?" if measured is None else words(measured)
    return shown if predicted is None else f"{shown} (predicted {words(predicted)})"


def _found(plan: Mapping[str, Any], *path: str) -> float | None:
    value: object = plan
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return number(value)


class Looks(NamedTuple):
    """How a state is shown: never by colour alone."""

    picture: str
    plain: str
    style: str


_UNKNOWN: Final = Looks("?", "?", "")
_STATES: Final = {
    "created": Looks("○", "o", "dim"),
    "queued": Looks("◌", "q", "dim"),
    "preparing": Looks("◔", "~", "accent"),
    "training": Looks("●", "*", "good"),
    "evaluating": Looks("◆", "%", "accent"),
    "saving": Looks("▼", "v", "accent"),
    "paused": Looks("‖", "=", "warn"),
    "done": Looks("✓", "+", "good"),
    "stopped": Looks("■", "#", "warn"),
    "preempted": Looks("■", "#", "warn"),
    "failed": Looks("✗", "x", "bad"),
    "crashed": Looks("✗", "x", "bad"),
}


def state_words(state: str) -> str:
    """Glyph and word of a state: `● training`."""
    looks = _STATES.get(state, _UNKNOWN)
    return f"{glyph(looks.picture, looks.plain)} {one_line(state, 40)}"


def state_style(state: str) -> str:
    """Name of the style a state is shown in, on top of its glyph and word."""
    return _STATES.get(state, _UNKNOWN).style


# What answers of a verdict nobody could use.
FAULTS: Final = {
    "empty": "empty answers",
    "repeating": "answers that repeat",
    "endless": "answers that never stop",
    "unreadable": "unreadable answers",
}

_OUTCOMES: Final = {
    "better": Looks("✓", "+", "good"),
    "worse": Looks("✗", "x", "bad"),
    "not usable": Looks("✗", "x", "bad"),
    "not better": Looks("=", "=", "warn"),
    "too few rows to tell": Looks("?", "?", "warn"),
}


def verdict_looks(outcome: str) -> Looks:
    """How a verdict is shown, by its outcome; one that is not known as neither good nor bad."""
    return _OUTCOMES.get(outcome) or Looks("=", "=", "warn")


def loading_lines(path: str | Path, result: Mapping[str, Any]) -> tuple[str, str, str]:
    """Python that loads what the event `result` names: an adapter on top of its base, or a model.

    Every text is quoted by Python. A base of the hub is named with its revision where the event has it, since the
    newest one may have other weights.
    """
    base, revision = str(result.get("base") or ""), result.get("revision")
    source = str(demo.model_dir()) if base == DEMO else base
    if result.get("kind") == "model":
        return (
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            f"model = AutoModelForCausalLM.from_pretrained({str(path)!r})",
            f"tokenizer = AutoTokenizer.from_pretrained({str(path)!r})",
        )
    which = f"{source!r}, revision={str(revision)!r}" if revision else f"{source!r}"
    return (
        "from peft import PeftModel; from transformers import AutoModelForCausalLM",
        f"base = AutoModelForCausalLM.from_pretrained({which})",
        f"model = PeftModel.from_pretrained(base, {str(path)!r})",
    )


def cost_words(view: RunView, now: float) -> str:
    """What the run has cost so far and will cost; empty without a price of an hour."""
    cost = view.cost(now)
    if cost is None:
        return ""
    spent, whole = cost
    return f"cost {spent:.2f}" if whole is None or view.state not in ACTIVE else f"cost {spent:.2f} of {whole:.2f}"
