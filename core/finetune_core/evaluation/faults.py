"""Answers that nobody could use, whatever the loss says: empty, looping, endless, unreadable, unrelated to the row."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from finetune_core.evaluation.chrf import chrf
from finetune_core.evaluation.statistics import LEVEL, paired_change

# Half of the n-grams of a text came before in it: the measure seq-rep-n (Welleck et al., ICLR 2020), of characters,
# since not every script has spaces. Short n-grams see loops of a few words, where a text ends; long ones see whole
# paragraphs again, which no text of any length has by chance.
_REPEATED: Final = 0.5
_LOOP: Final = 6
_ENDS: Final = (100, 400)
_PARAGRAPH: Final = 32
_SHORTEST_LOOP: Final = 16
# Of a row's own answer that repeats as much (a table, a chorus) nothing else is asked.
_AS_THE_ROW: Final = 0.2
_BROKEN: Final = 0.1
# What is unrelated is as far from the row's own answer as from those of other rows. So far that no score of a model
# that follows its rows comes near; and over fewer rows chance alone could bring it.
_UNRELATED_CHRF: Final = 0.2
_UNRELATED_ROWS: Final = 10
_UNRELATED_MOST: Final = 200
# Labels, numbers and names are too short for their characters to mean anything.
_SHORTEST_REFERENCE: Final = 20

FAULTS: Final = ("empty", "repeating", "endless", "unreadable")


@dataclass(frozen=True)
class Answer:
    """One answer of a model to a held-out row.

    `fact` is the text a right answer must contain, if the row has one. `ended` says whether the model ended the
    answer itself, False where it was cut off at the limit, None where that is not known; `fits` whether the row's
    own answer would have fitted below that limit.
    """

    prompt: str
    reference: str
    fact: str | None
    text: str
    ended: bool | None = None
    fits: bool = True


def fault(answer: Answer) -> str | None:
    """Which of FAULTS the answer has, the first that holds; None for one that can be read to its end."""
    text = answer.text.strip()
    if not text:
        return "empty" if answer.reference.strip() else None
    if repeats(text, answer.reference):
        return "repeating"
    if answer.ended is False and answer.fits:
        return "endless"
    return "unreadable" if _broken(text) > max(_BROKEN, _broken(answer.reference)) else None


def faults(answers: Sequence[Answer]) -> dict[str, int]:
    """How many answers have each fault; every name of FAULTS is there."""
    found = [fault(answer) for answer in answers]
    return {name: found.count(name) for name in FAULTS}


def repeats(text: str, reference: str = "") -> bool:
    """Whether a text goes round in circles, and the reference does not as much."""
    found = _repetition(text)
    return found >= _REPEATED and found > _repetition(reference) + _AS_THE_ROW


def _repetition(text: str) -> float:
    letters = " ".join(unicodedata.normalize("NFC", text).split())
    ends = (_repeated(letters[-end:], _LOOP) for end in _ENDS)
    return max(*ends, _repeated(letters, _PARAGRAPH))


def _repeated(letters: str, order: int) -> float:
    """The share of n-grams of this many characters that came before in the text."""
    count = len(letters) - order + 1
    if count < max(_SHORTEST_LOOP - order, 1):
        return 0.0
    return 1 - len({letters[place : place + order] for place in range(count)}) / count


def _broken(text: str) -> float:
    """The share of characters that stand for no text: U+FFFD, controls, unassigned and private ones."""
    letters = [letter for letter in text if not letter.isspace()]
    bad = sum(letter == "\ufffd" or unicodedata.category(letter) in {"Cc", "Cn", "Co", "Cs"} for letter in letters)
    return bad / len(letters) if letters else 0.0


def unrelated(answers: Sequence[Answer]) -> bool:
    """Whether the answers say nothing of their rows: no nearer to their own row's answer than to another row's.

    Judged over 10 rows or more whose answers are of 20 characters or more, at most the first 200 of them.
    """
    asked = [answer for answer in answers if len(answer.reference) >= _SHORTEST_REFERENCE][:_UNRELATED_MOST]
    if len(asked) < max(_UNRELATED_ROWS, len(answers[:_UNRELATED_MOST]) / 2):
        return False
    others = [*asked[1:], asked[0]]
    own = [chrf(answer.text, answer.reference) for answer in asked]
    if sum(own) / len(own) >= _UNRELATED_CHRF:
        return False
    if sum(chrf(one.reference, other.reference) for one, other in zip(asked, others, strict=True)) > len(asked) / 2:
        # The rows' own answers are alike: to be near to one is to be near to all.
        return False
    other = [chrf(answer.text, another.reference) for answer, another in zip(asked, others, strict=True)]
    found = paired_change([mine - theirs for mine, theirs in zip(own, other, strict=True)])
    return not (found.change > 0 and found.test.p <= LEVEL)
