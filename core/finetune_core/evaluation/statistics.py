"""What chance alone would bring: intervals of shares and means, and exact tests of paired changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A change is called where chance alone brings it less often than this: a little under one time in twenty, so that
# whole verdicts stay below that where a test uses all of its level.
LEVEL: Final = 0.04
# What an interval leaves out on either side: it is one of 95 %.
_TAIL: Final = 0.025
# The 0.975 quantile of the normal distribution.
_Z: Final = 1.959963984540054
# Up to so many rows every one of the 2^n flips is counted; beyond, this many seeded ones stand for them.
_EXACT_ROWS: Final = 14
_DRAWS: Final = 4_999
# Coins in memory at once.
_COINS: Final = 2_000_000
_SEED: Final = 20_261_130
# Sums in another order differ by rounding; a tie must stay one.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Test:
    """A two-sided p value, and the least that this test could have given with as many rows that differ."""

    __test__ = False  # no test case, whatever pytest makes of its name

    p: float
    least: float


@dataclass(frozen=True)
class PairedChange:
    """The change of a mean between two models over the same rows, in the unit of its rows.

    `low` and `high` are the ends of its 95 % interval, None under six rows: no interval keeps its level there.
    """

    change: float
    low: float | None
    high: float | None
    test: Test


def wilson(passed: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share, 0 to 1 (Wilson, JASA 22, 1927). Raises ValueError for no rows."""
    if rows < 1:
        raise ValueError("a share of nothing")
    found = passed / rows
    spread = _Z * sqrt(found * (1 - found) / rows + _Z * _Z / (4 * rows * rows))
    middle, scale = found + _Z * _Z / (2 * rows), 1 + _Z * _Z / rows
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def chance_of_change(gained: int, lost: int) -> float:
    """How likely a change at least this one-sided is by chance: `gained` answers became right, `lost` became wrong.

    The exact two-sided form of McNemar's test (Psychometrika 12, 1947): a fair coin for each answer that changed.
    """
    changed = gained + lost
    tail = sum(comb(changed, count) for count in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << changed))


def least_chance(rows: int) -> float:
    """The least p value that any of these tests can give when `rows` rows differ: all of them in one direction."""
    return min(1.0, 2.0 ** (1 - min(rows, 1000)))


def smallest_gain(rows: int, against: int, level: float = LEVEL) -> int | None:
    """The fewest rows by which a share must rise for McNemar's test to call it, when `against` rows fall.

    None where not even a rise in all other rows would be called.
    """
    for gained in range(against + 1, rows - against + 1):
        if chance_of_change(gained, against) <= level:
            return gained - against
    return None


def paired_change(differences: Sequence[float], weights: Sequence[float] | None = None) -> PairedChange:
    """The change sum(differences) / sum(weights) with a test and an interval that keep their level at any n.

    `differences` holds tuned minus base of each row; `weights` (above 0; 1 each when left out) what a row counts,
    such as its trained tokens when the differences are sums over them. Under equal models each difference is as
    likely to have the other sign, so the test flips signs (Fisher 1935): all 2^n ways up to 14 rows, 4,999 seeded
    ones beyond. Dividing by the standard deviation would change nothing, since flips leave the sum of squares alone.
    The interval is the test turned around: its ends are order statistics of the changes over subsets of the rows
    (Hartigan, JASA 64, 1969). Raises ValueError for no rows.
    """
    import numpy as np

    if not len(differences):
        raise ValueError("a change of nothing")
    found = np.asarray(differences, dtype=np.float64)
    counts = np.ones_like(found) if weights is None else np.asarray(weights, dtype=np.float64)
    over, drawn = _subset_sums(np.stack([found, counts], axis=1))
    sums, sizes = over[:, 0], over[:, 1]
    near = _ROUNDING * float(np.abs(found).sum())
    # Drawn ones do not hold the rows as they are, which count as one way too.
    of, itself = len(sums) + drawn, int(drawn)
    fewer = min(int((sums <= near).sum()), int((sums >= -near).sum())) + itself
    least = max(least_chance(int((np.abs(found) > 0).sum())), 2 / of)
    ratios = np.sort(sums[sizes > 0] / sizes[sizes > 0])
    place = int(_TAIL * of) - itself - int((sizes <= 0).sum())
    low, high = (float(ratios[place]), float(ratios[-1 - place])) if place >= 0 else (None, None)
    return PairedChange(float(found.sum() / counts.sum()), low, high, Test(min(1.0, 2 * fewer / of), least))


def macro_f1_test(truths: Sequence[int], base: Sequence[int], tuned: Sequence[int], labels: int) -> Test:
    """Whether macro F1 changed: answers of the two models are swapped within rows, as `paired_change` flips signs.

    Each sequence holds a label's number a row, 0 to `labels` - 1; an answer that is no label is -1.
    """
    import numpy as np

    goal, before, after = (_one_hot(found, labels) for found in (truths, base, tuned))
    rows = [place for place in range(len(truths)) if base[place] != tuned[place]]
    moved = (before - after)[rows]
    over, drawn = _subset_sums(np.concatenate([moved, moved * goal[rows]], axis=1))
    true, swapped, hits = goal.sum(axis=0), over[:, :labels], over[:, labels:]

    def macro(answers: Floats, sign: float) -> Floats:
        """Macro F1 for each way of swapping, of the answers as they are for sign 0; F1 = 2 hits / (answered + true)."""
        given, right = answers.sum(axis=0) + sign * swapped, (answers * goal).sum(axis=0) + sign * hits
        scores: Floats = (2 * right / np.maximum(given + true, 1)).mean(axis=1)
        return scores

    seen = abs(float(macro(after, 0.0)[0] - macro(before, 0.0)[0]))
    many = int((np.abs(macro(after, 1.0) - macro(before, -1.0)) >= seen - _ROUNDING).sum())
    of = len(over) + drawn
    least = max(least_chance(len(rows)), min(1.0, 2 / of))
    return Test(max(least, min(1.0, (many + drawn) / of)), least)


def holm(tests: Mapping[str, Test], level: float = LEVEL) -> dict[str, float]:
    """Each test's p value corrected for there being several (Holm, Scand. J. Stat. 6, 1979).

    A test that could not have reached the level however its rows fell is no chance of a false alarm: it is left out
    of the count, and has 1 (Tarone, Biometrics 46, 1990).
    """
    able = sorted((test.p, name) for name, test in tests.items() if test.least <= level)
    found = dict.fromkeys(tests, 1.0)
    worst = 0.0
    for place, (p, name) in enumerate(able):
        worst = max(worst, min(1.0, p * (len(able) - place)))
        found[name] = worst
    return found


def _one_hot(found: Sequence[int], labels: int) -> Floats:
    """[rows, labels], a row of zeros for -1."""
    import numpy as np

    whole = np.zeros((len(found), labels))
    for row, label in enumerate(found):
        if label >= 0:
            whole[row, label] = 1
    return whole


def _subset_sums(columns: Floats) -> tuple[Floats, bool]:
    """Sums over subsets of the rows of [rows, columns], as [subsets, columns]; and whether the subsets were drawn.

    All 2^n subsets up to 14 rows, the empty one among them; seeded ones, each row in or out by a fair coin, beyond.
    """
    import numpy as np

    rows = len(columns)
    if rows <= _EXACT_ROWS:
        chosen = (np.arange(1 << rows)[:, None] >> np.arange(rows)) & 1
        return chosen.astype(np.float64) @ columns, False
    coins = np.random.default_rng(_SEED)
    block = max(1, _COINS // rows)
    sizes = (min(block, _DRAWS - start) for start in range(0, _DRAWS, block))
    draws = (coins.integers(0, 2, (size, rows), dtype=np.uint8).astype(np.float64) for size in sizes)
    return np.concatenate([chosen @ columns for chosen in draws]), True
