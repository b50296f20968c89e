"""A verdict in one sentence: the outcome with its reason, the figures, and what they could not have shown."""

from __future__ import annotations

from math import floor, isfinite
from typing import Final

from finetune_core.evaluation.measure_names import HELD_OUT_LOSS, measure_name
from finetune_core.evaluation.measures import Measure
from finetune_core.evaluation.statistics import LEVEL
from finetune_core.evaluation.verdict import (
    BETTER,
    NOT_BETTER,
    NOT_USABLE,
    TOO_FEW,
    WORSE,
    Verdict,
    could_tell,
    fewest_rows,
    many_faults,
    most_faults,
    taken_back,
)
from finetune_core.text import counted, plural

# Of one answer, and of several.
_FAULTS: Final = {
    "empty": ("is empty", "are empty"),
    "repeating": ("repeats itself", "repeat themselves"),
    "endless": ("never stops", "never stop"),
    "unreadable": ("cannot be read", "cannot be read"),
}
_OPENINGS: Final = {
    BETTER: "Better than the base",
    NOT_BETTER: "Not better than the base",
    WORSE: "Worse than the base",
    TOO_FEW: "Too few rows to tell",
    NOT_USABLE: "Not usable yet",
}


def words(found: Verdict) -> str:
    """The verdict in one sentence."""
    if not found.rows and not found.measures:
        return f"{_OPENINGS[TOO_FEW]}: there were no held-out rows to answer and no held-out loss."
    opening = _OPENINGS[found.outcome]
    if found.raw and found.outcome in {BETTER, WORSE}:
        opening += " by its loss alone"
    parts = [*_reasons(found), *_figures(found), *_beside(found)]
    return f"{opening}: {'; '.join(parts)}{_asked(found)}."


def _asked(found: Verdict) -> str:
    if not found.rows or found.outcome == TOO_FEW:
        return ""
    return f", {_rows(found)} {'measured' if found.raw else 'answered'}"


def _rows(found: Verdict) -> str:
    return counted(found.rows, "held-out text" if found.raw else "held-out row")


def _reasons(found: Verdict) -> list[str]:
    if found.outcome == NOT_USABLE:
        unlike = ["the answers are no nearer to their own rows' answers than to those of others"]
        return _fault_words(found) if many_faults(found) else unlike + _fault_words(found)
    if found.outcome == TOO_FEW:
        return [_too_few(found), *_same(found)]
    if found.outcome == NOT_BETTER:
        return [_not_better(found)]
    return []


def _too_few(found: Verdict) -> str:
    if not found.rows:
        return "no held-out row was answered, and a loss alone shows no better answers"
    what = f"{_rows(found)} {plural(found.rows, 'was', 'were')} {'measured' if found.raw else 'answered'}"
    return f"{what}, and no change can be distinguished from chance under {fewest_rows(found)} of them"


def _same(found: Verdict) -> list[str]:
    """That many answers are, letter for letter, those of the base."""
    many = found.rows > 0 and found.identical * 2 >= found.rows
    verb = plural(found.identical, "is", "are")
    return [f"{found.identical} of {counted(found.rows, 'answer')} {verb} the base's own"] if many else []


def _not_better(found: Verdict) -> str:
    if same := _same(found):
        return same[0]
    if found.sign_of(1) and found.sign_of(-1):
        return "some measures rose and others fell"
    back = taken_back(found) if found.sign_of(1) else None
    if back is None and any(one.decides and (one.p or 1) <= LEVEL for one in found.measures if found.raw):
        return "the loss changed by less than 1 %"
    if back is None:
        return "no measure clearly changed"
    if back.name == "sound":
        return "more answers than before are empty, endless, unreadable or repeat themselves"
    return f"the answers are less like the rows' own ({measure_name('chrf').phrase} {_from_to(back)})"


def _figures(found: Verdict) -> list[str]:
    shown = [one for one in found.measures if one.decides or one.name == HELD_OUT_LOSS]
    if found.raw:
        shown = [one for one in shown if one.decides]
    if found.outcome == NOT_USABLE:
        shown = [one for one in shown if one.sign or measure_name(one.name).is_loss]
    return [figure_words(one) for one in shown]


def figure_words(one: Measure) -> str:
    """`valid JSON rose from 0 % to 100 %`; what chance can bring is said to be within chance."""
    name = measure_name(one.name).phrase
    if not isfinite(one.base) or not isfinite(one.tuned):
        return f"{name} is not a number"
    before, after = figure(one.name, one.base), figure(one.name, one.tuned)
    interval = _interval(one)
    if before == after:
        return f"{name} stayed at {before}{interval}"
    rose = "rose" if one.tuned > one.base else "fell"
    if one.p_corrected is not None and one.p_corrected <= LEVEL:
        return f"{name} {rose} from {before} to {after}{interval}"
    untested = "" if one.p is not None and one.rows else " (without an interval)"
    return f"{name} went from {before} to {after}{untested or ', within chance'}{interval}"


def _interval(one: Measure) -> str:
    if one.name != "bits_per_byte" or one.change_interval is None:
        return ""
    low, high = one.change_interval
    return f" (95 % interval of the change {low:+.3g} to {high:+.3g})"


def _from_to(one: Measure) -> str:
    return f"{figure(one.name, one.base)} to {figure(one.name, one.tuned)}"


def figure(name: str, value: float) -> str:
    """A measure's value as people read it: a loss in three digits, all else in per cent."""
    return f"{value:.3g}" if measure_name(name).is_loss else _percent(value)


def _percent(value: float) -> str:
    text = f"{value * 100:.1f}".removesuffix(".0")
    return f"{text} %"


def _beside(found: Verdict) -> list[str]:
    few = [] if found.outcome == NOT_USABLE else _fault_words(found)
    return [*few, *_smallest(found)]


def _fault_words(found: Verdict) -> list[str]:
    """`14 of 15 answers repeat themselves, 1 of the base's` for each fault that tuned answers have."""
    parts: list[str] = []
    for name in most_faults(found.tuned_faults):
        count, before = found.tuned_faults[name], found.base_faults.get(name, 0)
        said = f"{count} of {counted(found.rows, 'answer')} {_FAULTS[name][count > 1]}"
        parts.append(f"{said}, {before or 'none'} of the base's" if not parts or before else said)
    return parts


def _smallest(found: Verdict) -> list[str]:
    """What these rows could not have shown, where no change was found in them."""
    smallest = found.smallest_change
    if found.outcome != NOT_BETTER or smallest is None or found.sign_of(1) or not could_tell(found):
        return []
    if found.raw:
        return [f"a change of less than {smallest:.2g} bits per byte would not have shown"]
    return [f"a change of less than {_points(smallest * 100)} would not have shown"]


def _points(value: float) -> str:
    """Percentage points, rounded down so that what is said of less holds."""
    whole = floor(value)
    return f"{whole} points" if whole > 1 else f"{floor(value * 10) / 10:g} points"
