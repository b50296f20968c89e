"""What a method of training is, apart from the code that trains: which rows it takes and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from finetune_core.data.rows import CanonicalRow


@dataclass(frozen=True)
class Method:
    """One way to train, as form, plan and checks see it.

    `takes` is the canonical row it trains on, `rows` those rows in words. `sequences` is how many sequences a row comes
    to in a step (a preference pair has two), `answers` whether held-out rows end in an answer that can be compared.
    """

    name: str
    title: str
    takes: type[CanonicalRow]
    rows: str
    sequences: int = 1
    answers: bool = True
