"""Which measures fit the rows, and what each says of base and tuned model: figures, intervals, exact tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

from finetune_core.evaluation.chrf import chrf
from finetune_core.evaluation.faults import Answer, fault
from finetune_core.evaluation.losses import RowLosses, bits_change, loss_change
from finetune_core.evaluation.measure_names import HELD_OUT_LOSS
from finetune_core.evaluation.metrics import exact, json_like, label, labels_of, parse_json, right_fact
from finetune_core.evaluation.statistics import (
    LEVEL,
    PairedChange,
    Test,
    chance_of_change,
    holm,
    least_chance,
    macro_f1_test,
    paired_change,
    smallest_gain,
    wilson,
)

Interval = tuple[float, float]
# Losses are means over many tokens; below one per cent of difference nobody would notice.
_LOSS_CHANGE: Final = 0.01


@dataclass(frozen=True)
class Measure:
    """One measure of both models over the same rows.

    `base` and `tuned` are shares or scores from 0 to 1, or losses (nats a token, bits a byte). Shares have intervals
    of their own, means one of their change; all are of 95 %. `p` is the chance of such a change between equal models,
    `p_corrected` the same among several measures; `least` is the least that `p` could have been with as many rows
    that differ. They are None where there is no test. `sign` says whether it is clearly better (1), clearly worse (-1)
    or neither. `smallest_change` is the change below which none would have been called even if it were the only
    measure, in the measure's own unit; None where none could be. `decides` says whether the verdict rests on it.
    """

    name: str
    base: float
    tuned: float
    rows: int
    base_interval: Interval | None = None
    tuned_interval: Interval | None = None
    change_interval: Interval | None = None
    p: float | None = None
    p_corrected: float | None = None
    least: float | None = None
    sign: int = 0
    smallest_change: float | None = None
    decides: bool = True


@dataclass(frozen=True)
class _Tested:
    found: Measure
    test: Test
    against: int | None = None  # of a share: how many rows changed the other way


def answer_measures(base: Sequence[Answer], tuned: Sequence[Answer]) -> tuple[Measure, ...]:
    """Every measure that fits these rows, the deciding ones first and corrected for their number (Holm).

    Strict JSON where every reference is JSON, the contained fact over the rows that carry one, and equality. For
    labels equality is accuracy, with macro F1 beside it; for other free text the likeness chrF. Beside the deciding
    ones: whether answers are sound, and chrF where it does not decide; these can only speak against the tuned model.
    """
    if not base:
        return ()
    deciding = _deciding(base, tuned)
    names = {one.found.name for one in deciding}
    beside = [_share("sound", _sound(base), _sound(tuned))]
    beside += [_likeness(base, tuned)] if "chrf" not in names else []
    corrected = holm({one.found.name: one.test for one in deciding})
    found = [_called(one, corrected[one.found.name]) for one in deciding]
    return (*found, *(replace(_called(one, one.test.p), decides=False) for one in beside))


def _deciding(base: Sequence[Answer], tuned: Sequence[Answer]) -> list[_Tested]:
    references = [answer.reference for answer in base]
    found = []
    json_rows = all(parse_json(reference) is not None for reference in references)
    if json_rows:
        found.append(_share("valid_json", *([json_like(a.text, a.reference) for a in side] for side in (base, tuned))))
    if any(answer.fact for answer in base):
        said = ([right_fact(a.text, a.fact) for a in side if a.fact] for side in (base, tuned))
        found.append(_share("right_fact", *said))
    labels = () if json_rows else labels_of(references)
    if labels:
        return [*found, *_label_measures(base, tuned, labels)]
    found.append(_share("exact", *([exact(a.text, a.reference) for a in side] for side in (base, tuned))))
    return found if json_rows else [*found, _likeness(base, tuned)]


def _label_measures(base: Sequence[Answer], tuned: Sequence[Answer], labels: Sequence[str]) -> list[_Tested]:
    number = {one: place for place, one in enumerate(labels)}
    truths = [number[label(answer.reference)] for answer in base]
    before, after = ([number.get(label(answer.text), -1) for answer in side] for side in (base, tuned))
    right = ([one == truth for one, truth in zip(side, truths, strict=True)] for side in (before, after))
    old, new = (macro_f1(truths, side, len(labels)) for side in (before, after))
    test = macro_f1_test(truths, before, after, len(labels))
    return [_share("accuracy", *right), _Tested(Measure("macro_f1", old, new, len(truths)), test)]


def macro_f1(truths: Sequence[int], answers: Sequence[int], labels: int) -> float:
    """The mean over labels of F1 = 2 hits / (times answered + times true), 0 to 1; -1 is an answer that is none."""
    pairs = list(zip(truths, answers, strict=True))
    hits = [sum(truth == answer == one for truth, answer in pairs) for one in range(labels)]
    given = [
        sum(truth == one for truth, _ in pairs) + sum(answer == one for _, answer in pairs) for one in range(labels)
    ]
    return sum(2 * hit / max(count, 1) for hit, count in zip(hits, given, strict=True)) / labels


def _sound(answers: Sequence[Answer]) -> list[bool]:
    return [fault(answer) is None for answer in answers]


def _share(name: str, before: Sequence[bool], after: Sequence[bool]) -> _Tested:
    rows = len(before)
    gained = sum(new and not old for old, new in zip(before, after, strict=True))
    lost = sum(old and not new for old, new in zip(before, after, strict=True))
    found = Measure(
        name,
        sum(before) / rows,
        sum(after) / rows,
        rows,
        wilson(sum(before), rows),
        wilson(sum(after), rows),
    )
    return _Tested(found, Test(chance_of_change(gained, lost), least_chance(gained + lost)), min(gained, lost))


def _likeness(base: Sequence[Answer], tuned: Sequence[Answer]) -> _Tested:
    before, after = ([chrf(answer.text, answer.reference) for answer in side] for side in (base, tuned))
    change = paired_change([new - old for old, new in zip(before, after, strict=True)])
    found = Measure("chrf", sum(before) / len(before), sum(after) / len(after), len(before))
    return _Tested(_with_interval(found, change), change.test)


def _with_interval(found: Measure, change: PairedChange) -> Measure:
    if change.low is None or change.high is None:
        return found
    half = (change.high - change.low) / 2
    return replace(found, change_interval=(change.low, change.high), smallest_change=half)


def _called(one: _Tested, corrected: float) -> Measure:
    """The measure with its p values and what they come to."""
    found, smallest = one.found, one.found.smallest_change
    sign = (found.tuned > found.base) - (found.tuned < found.base) if corrected <= LEVEL else 0
    if one.against is not None:
        gain = smallest_gain(found.rows, one.against)
        smallest = None if gain is None else gain / found.rows
    return replace(
        found, p=one.test.p, p_corrected=corrected, least=one.test.least, sign=sign, smallest_change=smallest
    )


def loss_measures(base: RowLosses | float | None, tuned: RowLosses | float | None) -> tuple[Measure, ...]:
    """The held-out loss and, of raw text, bits a byte; a loss known only as its mean has no interval.

    Less is better, and a change below one per cent is none. Bits a byte decide; the loss of rows with answers never.
    """
    if base is None or tuned is None:
        return ()
    old, new = (one.mean if isinstance(one, RowLosses) else one for one in (base, tuned))
    if not isinstance(base, RowLosses) or not isinstance(tuned, RowLosses):
        return (replace(_loss(Measure(HELD_OUT_LOSS, old, new, 0), None), decides=False),)
    rows, bits = len(base.nats), (base.bits_per_byte, tuned.bits_per_byte)
    found = replace(_loss(Measure(HELD_OUT_LOSS, old, new, rows), loss_change(base, tuned)), decides=False)
    if bits[0] is None or bits[1] is None:
        return (found,)
    return found, _loss(Measure("bits_per_byte", bits[0], bits[1], rows), bits_change(base, tuned))


def _loss(found: Measure, change: PairedChange | None) -> Measure:
    if isfinite(found.base) and not isfinite(found.tuned):
        return replace(found, sign=-1)
    if change is None:
        return found
    matters = abs(change.change) > _LOSS_CHANGE * abs(found.base)
    sign = (change.change < 0) - (change.change > 0) if matters and change.test.p <= LEVEL else 0
    known = _with_interval(found, change)
    smallest = known.smallest_change and max(known.smallest_change, _LOSS_CHANGE * abs(found.base))
    p, least = change.test.p, change.test.least
    return replace(known, p=p, p_corrected=p, least=least, sign=sign, smallest_change=smallest)
