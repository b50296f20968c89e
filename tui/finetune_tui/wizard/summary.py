"""Each step in a few words, for the list of steps."""

from __future__ import annotations

from finetune_core.text import clean, count_text, counted, one_line, plural
from finetune_tui.wizard.session import Session

_WIDTH = 22


def summaries(session: Session) -> tuple[str, ...]:
    """One short line a step; empty where nothing is known yet."""
    lines = (_hardware(session), _model(session), _data(session), _settings(session), _review(session))
    return tuple(one_line(clean(line), _WIDTH) for line in lines)


def _hardware(session: Session) -> str:
    if session.hardware is None:
        return ""
    if session.device == "cpu":
        return f"CPU, {session.hardware.host.cores} cores"
    return ", ".join(f"GPU {gpu.index}" for gpu in session.gpus)


def _model(session: Session) -> str:
    recipe = session.recipe
    name = recipe.model.source.rstrip("/").rpartition("/")[2]
    method = session.resolved.quantization.method
    return f"{name}, {method}" if session.resolved.quantization.packed else name


def _data(session: Session) -> str:
    look = session.data
    name = session.recipe.data.source.rstrip("/").rpartition("/")[2]
    if look is None or look.facts is None:
        return name
    rows = look.facts.rows + look.facts.held_out_rows
    return f"{name}, {count_text(rows)} {plural(rows, 'row')}"


def _settings(session: Session) -> str:
    adapter = session.resolved.adapter
    # A rank on auto follows from the tokens.
    lora = "LoRA" if adapter.rank is None else f"LoRA rank {adapter.rank}"
    kind = lora if adapter.kind == "lora" else "every weight"
    steps, about = session.steps, "~" if session.basis else ""
    return f"{kind}, {about}{counted(steps.total, 'step')}" if steps is not None else kind


def _review(session: Session) -> str:
    return "" if session.problems() else "ready"
