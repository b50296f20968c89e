"""The held-out loss row by row, which is what sets a change apart from chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum, isfinite, log
from pathlib import Path

from finetune_core.evaluation.statistics import PairedChange, paired_change
from finetune_core.files import read_sealed, write_sealed

_OF = "of"
_LARGEST = 256 * 1024 * 1024


@dataclass(frozen=True)
class RowLosses:
    """What each held-out row costs a model: `nats` in all, over `tokens` trained tokens.

    `utf8` are the bytes of the trained text of each row, where the rows are raw text; else None.
    """

    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    utf8: tuple[int, ...] | None = None

    @property
    def mean(self) -> float:
        """Nats a trained token, every token counted alike; NaN for no tokens."""
        count = sum(self.tokens)
        return fsum(self.nats) / count if count else float("nan")

    @property
    def bits_per_byte(self) -> float | None:
        """Bits a byte of the text (UTF-8), which tokenizers do not change; None where the rows are no raw text."""
        size = sum(self.utf8 or ())
        return fsum(self.nats) / log(2) / size if size else None

    def save(self, path: Path, of: str = "") -> None:
        """Write it in one step, sealed; `of` is a hash of what it was measured on."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_sealed(path, {**asdict(self), _OF: of})


def load(path: Path, of: str = "") -> RowLosses | None:
    """What `save` wrote; None where there is nothing, it was changed since, or was measured on something else.

    Without `of` the file's word is taken for what it was measured on.
    """
    found = read_sealed(path, _LARGEST)
    if found is None or (of and found.get(_OF) != of):
        return None
    try:
        tokens, utf8 = (tuple(map(int, _column(found, name))) for name in ("tokens", "utf8"))
        read = RowLosses(tuple(map(float, _column(found, "nats"))), tokens, utf8 or None)
        whole = all(len(column) == len(read.nats) for column in (read.tokens, read.utf8 or read.tokens))
    except (ValueError, TypeError, AttributeError):
        return None
    return read if whole else None


def _column(found: Mapping[str, Sequence[float] | None], name: str) -> tuple[float, ...]:
    return tuple(found.get(name) or ())


def grouped(rows: Sequence[int], nats: Sequence[float], tokens: Sequence[int], utf8: Sequence[int] | None) -> RowLosses:
    """Losses of token rows as those of the rows they are pieces of; `rows` says of which.

    Pieces of one text are no measurements apart: only whole texts count against chance.
    """
    order = {row: place for place, row in enumerate(dict.fromkeys(rows))}
    sums: list[list[float]] = [[0.0] * len(order) for _ in range(3)]
    for row, *values in zip(rows, nats, tokens, utf8 or tokens, strict=True):
        for total, value in zip(sums, values, strict=True):
            total[order[row]] += value
    return RowLosses(tuple(sums[0]), tuple(map(int, sums[1])), tuple(map(int, sums[2])) if utf8 is not None else None)


def loss_change(base: RowLosses, tuned: RowLosses) -> PairedChange | None:
    """The change of the held-out loss in nats a token; None where the rows differ or a loss is no number."""
    return _change(base, tuned, base.tokens, 1.0) if base.tokens == tuned.tokens else None


def bits_change(base: RowLosses, tuned: RowLosses) -> PairedChange | None:
    """The change in bits a byte; None where the rows differ, are no raw text, or a loss is no number."""
    same = base.utf8 is not None and base.utf8 == tuned.utf8
    return _change(base, tuned, base.utf8 or (), log(2)) if same else None


def _change(base: RowLosses, tuned: RowLosses, weights: Sequence[int], unit: float) -> PairedChange | None:
    kept = [place for place, weight in enumerate(weights) if weight > 0]
    differences = [(tuned.nats[place] - base.nats[place]) / unit for place in kept]
    if not differences or not all(map(isfinite, differences)):
        return None
    return paired_change(differences, [weights[place] for place in kept])
