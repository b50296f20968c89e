"""Is the tuned model better than its base? Answers to the same held-out rows, measured and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from finetune_core.evaluation.faults import FAULTS, Answer, faults, unrelated
from finetune_core.evaluation.losses import RowLosses
from finetune_core.evaluation.measure_names import HELD_OUT_LOSS
from finetune_core.evaluation.measures import Measure, answer_measures, loss_measures
from finetune_core.evaluation.statistics import LEVEL, least_chance, smallest_gain

Outcome = Literal["better", "not better", "worse", "too few rows to tell", "not usable"]
BETTER: Final = "better"
NOT_BETTER: Final = "not better"
WORSE: Final = "worse"
TOO_FEW: Final = "too few rows to tell"
NOT_USABLE: Final = "not usable"
OUTCOMES: Final = (BETTER, NOT_BETTER, WORSE, TOO_FEW, NOT_USABLE)
# So large a share of answers that nobody could use makes the model one.
_MANY: Final = 0.5
_SOME: Final = 0.1
_RIGHT: Final = frozenset({"right_fact", "exact", "accuracy"})


@dataclass(frozen=True)
class Verdict:
    """What base and tuned model make of the same held-out rows, and what follows from it.

    `rows` is the number of held-out rows answered, or of raw texts measured where none has an answer (`raw`). The
    counts say how many answers of each model have which fault (see `faults`), and how many tuned answers are the
    base's own. `unrelated` says that the tuned answers say nothing of their rows.
    """

    outcome: Outcome
    rows: int
    measures: tuple[Measure, ...] = ()
    base_faults: dict[str, int] = field(default_factory=dict)
    tuned_faults: dict[str, int] = field(default_factory=dict)
    identical: int = 0
    unrelated: bool = False
    raw: bool = False

    @property
    def better(self) -> bool | None:
        """True for better, False for clearly worse in what was measured; None where neither is clear."""
        if self.outcome == BETTER:
            return True
        fell = self.sign_of(-1) and not self.sign_of(1)
        return False if self.outcome == WORSE or (self.outcome == NOT_USABLE and fell) else None

    def sign_of(self, sign: int) -> list[Measure]:
        """The measures the verdict rests on that clearly changed this way."""
        return [one for one in self.measures if one.decides and one.sign == sign]

    def measure(self, name: str) -> Measure | None:
        """The measure of this name, if it was taken."""
        return next((one for one in self.measures if one.name == name), None)

    @property
    def faulty(self) -> int:
        """How many tuned answers have any fault."""
        return sum(self.tuned_faults.values())

    @property
    def smallest_change(self) -> float | None:
        """The change of a deciding share or score below which none would have been called; None where none could."""
        known = [one.smallest_change for one in self.measures if one.decides and one.smallest_change is not None]
        return min(known, default=None)


def judge(
    base_answers: Sequence[Answer],
    tuned_answers: Sequence[Answer],
    base_loss: RowLosses | float | None,
    tuned_loss: RowLosses | float | None,
) -> Verdict:
    """Compare two models by their answers to the same rows, in the same order, and by their held-out losses.

    Between equal models better or worse is said at most one time in twenty, whatever the number of rows and measures:
    deciding measures are corrected for their number, the others can only take a "better" back. A loss decides over
    raw text alone. A loss given as its mean (nats a token) is reported and not tested. Raises ValueError when the
    rows differ.
    """
    if [(a.prompt, a.reference, a.fact) for a in base_answers] != [
        (a.prompt, a.reference, a.fact) for a in tuned_answers
    ]:
        raise ValueError("base and tuned model must answer the same rows in the same order")
    losses = loss_measures(base_loss, tuned_loss)
    if not base_answers:
        raw = any(one.decides for one in losses)
        texts = next((one.rows for one in losses if one.decides), 0)
        return _settled(Verdict(NOT_BETTER, texts, losses, raw=raw))
    same = sum(old.text == new.text for old, new in zip(base_answers, tuned_answers, strict=True))
    return _settled(
        Verdict(
            NOT_BETTER,
            len(base_answers),
            (*answer_measures(base_answers, tuned_answers), *(one for one in losses if not one.decides)),
            faults(base_answers),
            faults(tuned_answers),
            same,
            unrelated(tuned_answers),
        )
    )


def _settled(found: Verdict) -> Verdict:
    return replace(found, outcome=_outcome(found))


def _outcome(found: Verdict) -> Outcome:
    if found.rows and found.identical == found.rows:
        return NOT_BETTER if enough(found.rows) else TOO_FEW
    if unusable(found):
        return NOT_USABLE
    if not enough(found.rows):
        return TOO_FEW
    rose, fell = found.sign_of(1), found.sign_of(-1)
    if rose and not fell and not taken_back(found):
        return BETTER
    if fell and not rose:
        return WORSE
    return NOT_BETTER if rose or fell or could_tell(found) else TOO_FEW


def enough(rows: int) -> bool:
    """Whether a test over so many rows can come out at all: six of them, when all change one way."""
    return rows > 0 and least_chance(rows) <= LEVEL


def could_tell(found: Verdict) -> bool:
    """Whether a change of a deciding measure could have been called over these rows, corrected as it would be."""
    deciding = [one for one in found.measures if one.decides]
    return any(smallest_gain(one.rows, 0, _level(found)) is not None for one in deciding)


def _level(found: Verdict) -> float:
    """The level that the clearest of the deciding measures has to reach: an even share of LEVEL for each that could."""
    able = sum(one.decides and one.least is not None and one.least <= LEVEL for one in found.measures)
    return LEVEL / max(able, 1)


def unusable(found: Verdict) -> bool:
    """Whether so many tuned answers have faults, or all say so little of their rows, that nobody could use the model.

    Answers that are right, or clearly got better, do say something of their rows.
    """
    right = any(one.tuned >= _SOME for one in found.measures if one.name in _RIGHT)
    nothing_said = found.unrelated and not right and not found.sign_of(1)
    return found.rows > 0 and not found.raw and (many_faults(found) or nothing_said)


def many_faults(found: Verdict) -> bool:
    """Whether half of the tuned answers or more have a fault."""
    return found.faulty >= _MANY * found.rows


def taken_back(found: Verdict) -> Measure | None:
    """The measure beside the deciding ones, of the answers, that clearly got worse; None when there is none."""
    beside = (one for one in found.measures if not one.decides and one.name != HELD_OUT_LOSS)
    return next((one for one in beside if one.sign < 0), None)


def fewest_rows(found: Verdict) -> int:
    """How many answered rows the tests need before any change can be called."""
    rows = 1
    while smallest_gain(rows, 0, _level(found)) is None:
        rows += 1
    return rows


def most_faults(counts: dict[str, int]) -> list[str]:
    """The faults that any answers have, the most frequent first."""
    return sorted((name for name in FAULTS if counts.get(name)), key=lambda name: -counts[name])
