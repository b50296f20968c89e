"""Is the tuned model better than its base? Answers to the same held-out rows, measured and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from ft_core.evaluation.metrics import chance_of_change, exact, json_like, parse_json, right_fact, share

# A change that chance brings more often than one time in twenty is not called one.
_CHANCE = 0.05
# Losses are means over many tokens; below one per cent of difference nobody would notice.
_LOSS_CHANGE = 0.01
_NAMES = {"valid_json": "valid JSON", "right_fact": "right facts", "exact": "answers equal to the reference"}


@dataclass(frozen=True)
class Answer:
    """One answer of a model to a held-out row; `fact` is the text a right answer must contain, if the row has one."""

    prompt: str
    reference: str
    fact: str | None
    text: str


@dataclass(frozen=True)
class Verdict:
    """The measures of base and tuned model, and what they say.

    `base` and `tuned` hold shares from 0 to 1 (`valid_json`, `right_fact`, `exact`) and `held_out_loss` in nats per
    token, each only where it could be measured. `better` is None when nothing clearly changed, or some measures
    rose while others fell. `words` is one sentence. `changes` tells of each compared measure whether it is clearly
    better (1), clearly worse (-1) or neither (0).
    """

    base: dict[str, float]
    tuned: dict[str, float]
    rows: int
    better: bool | None
    words: str
    changes: dict[str, int]


def score(answers: Sequence[Answer]) -> dict[str, float]:
    """The share of answers that pass each measure that applies to these rows; empty for no answers.

    `valid_json` only when every reference is JSON, and then an object must have the reference's keys; `right_fact`
    over the rows that carry a fact; `exact` always.
    """
    return {name: share(flags) for name, flags in _measures(answers).items()}


def _measures(answers: Sequence[Answer]) -> dict[str, list[bool]]:
    """For each measure that applies, whether each answer passes; the same rows give the same measures."""
    if not answers:
        return {}
    found: dict[str, list[bool]] = {}
    if all(parse_json(answer.reference) is not None for answer in answers):
        found["valid_json"] = [json_like(answer.text, answer.reference) for answer in answers]
    if any(answer.fact for answer in answers):
        found["right_fact"] = [right_fact(answer.text, answer.fact) for answer in answers if answer.fact]
    found["exact"] = [exact(answer.text, answer.reference) for answer in answers]
    return found


def judge(
    base_answers: Sequence[Answer],
    tuned_answers: Sequence[Answer],
    base_loss: float | None,
    tuned_loss: float | None,
) -> Verdict:
    """Compare two models by their answers to the same rows, in the same order, and by their held-out losses.

    Losses are in nats per token, None where not measured. Raises ValueError when the rows differ.
    """
    if [(a.prompt, a.reference, a.fact) for a in base_answers] != [
        (a.prompt, a.reference, a.fact) for a in tuned_answers
    ]:
        raise ValueError("base and tuned model must answer the same rows in the same order")
    before, after = _measures(base_answers), _measures(tuned_answers)
    changes = {name: _change(name, before[name], after[name]) for name in before}
    base = {name: share(flags) for name, flags in before.items()}
    tuned = {name: share(flags) for name, flags in after.items()}
    for measured, loss in ((base, base_loss), (tuned, tuned_loss)):
        if loss is not None:
            measured["held_out_loss"] = loss
    if base_loss is not None and tuned_loss is not None:
        changes["held_out_loss"] = _loss_change(base_loss, tuned_loss)
    found, rows = list(changes.values()), len(base_answers)
    signs = {name: change.sign for name, change in changes.items()}
    return Verdict(base, tuned, rows, _better(found), _words(found, rows), signs)


@dataclass(frozen=True)
class _Change:
    sign: int  # 1 clearly better, -1 clearly worse, 0 neither
    words: str


def _better(changes: Sequence[_Change]) -> bool | None:
    signs = {change.sign for change in changes}
    return None if {1, -1} <= signs or signs <= {0} else 1 in signs


def _change(name: str, before: Sequence[bool], after: Sequence[bool]) -> _Change:
    gained = sum(new and not old for old, new in zip(before, after, strict=True))
    lost = sum(old and not new for old, new in zip(before, after, strict=True))
    clear = chance_of_change(gained, lost) < _CHANCE
    sign = ((gained > lost) - (gained < lost)) if clear else 0
    return _Change(sign, _figures(_NAMES[name], share(before), share(after), sign, _percent))


def _loss_change(before: float, after: float) -> _Change:
    if not isfinite(before) or not isfinite(after):
        return _Change(-1 if isfinite(before) else 0, "held-out loss is not a number")
    clear = abs(after - before) > _LOSS_CHANGE * abs(before)
    sign = ((after < before) - (after > before)) if clear else 0
    # A lower loss is the better one, but its words follow the figures.
    return _Change(sign, _figures("held-out loss", before, after, -sign, "{:.3g}".format))


def _figures(name: str, before: float, after: float, rise: int, text: Callable[[float], str]) -> str:
    if text(before) == text(after):
        return f"{name} stayed at {text(before)}"
    verb = {1: "rose", -1: "fell", 0: "hardly changed,"}[rise]
    return f"{name} {verb} from {text(before)} to {text(after)}"


def _percent(value: float) -> str:
    return f"{value:.1%}".replace(".0%", "%").replace("%", " %")


def _words(changes: Sequence[_Change], rows: int) -> str:
    if not changes:
        return "Not compared: there were no held-out rows to answer and no held-out loss."
    mixed = {1, -1} <= {change.sign for change in changes}
    openings = {
        True: "Better than the base",
        False: "Worse than the base",
        None: "Mixed" if mixed else "No clear change",
    }
    opening = openings[_better(changes)]
    answered = f", {rows} held-out {'row' if rows == 1 else 'rows'} answered" if rows else ""
    return f"{opening}: {'; '.join(change.words for change in changes)}{answered}."
